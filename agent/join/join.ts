/**
 * One attempt to join one service (protocols.md 1): the keys are on disk first, so that a repeat after a lost answer or a crash
 * is the same join. What comes back is checked before it is kept. When to try again is somebody else's matter.
 */
import { challengeAnswer, credentials, type Credentials } from '../../core/api/join.ts'
import { instant, type Clock } from '../../core/clock.ts'
import { encodeKey, signJoin } from '../../core/join/messages.ts'
import { keySigner, thumbprint } from '../../core/certs/signer.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { verifyLeaf } from '../../core/certs/x509-verify.ts'
import { AppError } from '../../core/errors.ts'
import type { IdentityKind } from '../../core/domain/service.ts'
import { parse } from '../../core/parse.ts'
import type { Random } from '../../core/random.ts'
import type { ApiClient } from '../../net/http-client.ts'
import type { ClusterInfo } from '../cluster.ts'
import { pkcs8, type HeldIdentity, type IdentityStore } from '../identity/store.ts'
import type { EvidenceCollector, Opened } from './collector.ts'
import { provenCall } from './proven-call.ts'

export interface JoinOptions {
  readonly service: IdentityKind
  readonly nodeName: string
  readonly cluster: ClusterInfo
  /** Of the cluster's API, over its trust; unsigned. */
  readonly api: Pick<ApiClient, 'request'>
  readonly store: IdentityStore
  readonly collector: EvidenceCollector
  readonly clock: Clock
  readonly random: Random
  readonly signal: AbortSignal
}

/** Both kinds of methods as one. */
async function beginProof(
  collector: EvidenceCollector,
  signal: AbortSignal,
  cluster: string,
): Promise<Pick<Opened, 'collect'> & Partial<Pick<Opened, 'close'>> & { params?: object }> {
  if ('collect' in collector)
    return {
      collect: (challenge, _, keys) => collector.collect(challenge, { signal, cluster, keys }),
    }
  const opened = await collector.open()
  return { ...opened, params: { params: opened.params } }
}

export async function joinOnce(options: JoinOptions): Promise<HeldIdentity> {
  const { service, nodeName, api, store, collector, signal } = options
  const enrolment = keySigner(await store.enrolmentKey())
  const next = await store.nextKey(service, { purpose: 'join' })
  const serviceKey = keySigner(next.key)
  const keys = {
    enrolment_key: encodeKey(enrolment.publicKey),
    service_key: encodeKey(serviceKey.publicKey),
  }
  const proof = await beginProof(collector, signal, options.cluster.cluster)
  let request
  try {
    const asked = await api.request(
      'POST',
      '/v1/join/challenge',
      {
        method: collector.name,
        token: await collector.handle(),
        service,
        ...keys,
        ...proof.params,
      },
      { signal },
    )
    const { challenge, question } = parse(challengeAnswer, asked, { code: 'ERR_INTERNAL' })
    const evidence = await proof.collect(challenge, question, {
      enrolment: thumbprint(enrolment.publicKey),
      serviceKey: thumbprint(serviceKey.publicKey),
    })
    request = await signJoin(
      { challenge, method: collector.name, service, ...keys, node_name: nodeName, evidence },
      { enrolment, service: serviceKey },
    )
  } finally {
    await proof.close?.()
  }
  const answered = await provenCall(options, '/v1/join', request)
  const answer = parse(credentials, answered, { code: 'ERR_INTERNAL' })
  checkCredentials(answer, { service, cluster: options.cluster, clock: options.clock })
  await collector.accepted?.(answer)
  return store.save(service, {
    v: 1,
    key: pkcs8(next.key),
    node_name: nodeName,
    credentials: answer,
  })
}

export interface Expected {
  readonly service: IdentityKind
  readonly cluster: ClusterInfo
  readonly clock: Clock
}

/**
 * The certificate must chain to a host CA; with pins, to a pinned one. That it fits key, service and id is checked when it is
 * stored. Its times are taken as they are: it was made for us this moment, and a wrong clock here is found by signed requests.
 */
export function checkCredentials(given: Credentials, expected: Expected): void {
  const wrong = (internal: string): AppError =>
    new AppError('ERR_CERT_INVALID', undefined, { internal: `credentials: ${internal}` })
  if (given.cluster !== expected.cluster.cluster) throw wrong('another cluster')
  if (given.service !== expected.service) throw wrong('another service')
  if (given.service === 'ssh' && given.ssh_host === undefined) throw wrong('no SSH certificate')
  const certificate = readCertificate(given.x509)
  const { pinnedCas } = expected.cluster
  const roots = (pinnedCas.length > 0 ? pinnedCas : given.host_ca.x509).map(readCertificate)
  const now = instant(
    Math.min(Math.max(expected.clock.now(), certificate.notBefore), certificate.notAfter - 1),
  )
  for (const usage of ['client', 'server'] as const) verifyLeaf(certificate, { roots, now, usage })
}
