/** A small cluster's CAs and certificates, made by the real code, for tests that need somebody to be somebody. */
import { instant, plus, type Instant } from '../../core/clock.ts'
import type { AgentId, ProxyId } from '../../core/ids.ts'
import { agentUri, proxyUri, userExtension, userUri } from '../../core/certs/identity.ts'
import type { UserAttributes } from '../../core/certs/identity.ts'
import { generateKey, keySigner, type KeyAlgorithm, type Signer } from '../../core/certs/signer.ts'
import { createCaCertificate, issueCertificate } from '../../core/certs/x509.ts'
import { readCertificate, type Certificate } from '../../core/certs/x509-read.ts'

export const NOW: Instant = instant(Date.UTC(2026, 10, 23, 12, 0, 0))
export const HOUR = 3_600_000
export const CLUSTER = 'demo.postern'
export const AGENT_ID = 'ag_01jd00000000000000000000aa' as AgentId
export const PROXY_ID = 'px_01jd00000000000000000000pp' as ProxyId
export const ALICE: UserAttributes = {
  roles: ['access', 'dev'],
  traits: { team: ['sre', 'web'] },
  logins: ['alice', 'deploy'],
}

export interface Ca {
  readonly signer: Signer
  readonly certificate: Certificate
}
export interface Leaf {
  readonly signer: Signer
  readonly certificate: Certificate
}

export async function makeCa(
  name: string,
  algorithm: KeyAlgorithm = 'ES256',
  now = NOW,
): Promise<Ca> {
  const signer = keySigner(generateKey(algorithm).privateKey)
  const notBefore = plus(now, -HOUR)
  const notAfter = plus(now, 3650 * 24 * HOUR)
  const der = await createCaCertificate({ name, signer, notBefore, notAfter })
  return { signer, certificate: readCertificate(der) }
}

async function leaf(
  ca: Ca,
  uri: string,
  algorithm: KeyAlgorithm,
  now: Instant,
  attributes?: UserAttributes,
): Promise<Leaf> {
  const signer = keySigner(generateKey(algorithm).privateKey)
  const der = await issueCertificate({
    subject: uri.split('/').at(-1) ?? uri,
    publicKey: signer.publicKey,
    issuer: ca,
    notBefore: plus(now, -60_000),
    notAfter: plus(now, 12 * HOUR),
    uris: [uri],
    usage: attributes ? ['client'] : ['client', 'server'],
    ...(attributes ? { extension: userExtension(attributes) } : {}),
  })
  return { signer, certificate: readCertificate(der) }
}

export const agentLeaf = (ca: Ca, algorithm: KeyAlgorithm = 'ES256', now = NOW): Promise<Leaf> =>
  leaf(ca, agentUri(CLUSTER, AGENT_ID, 'ssh'), algorithm, now)
export const proxyLeaf = (ca: Ca, algorithm: KeyAlgorithm = 'ES256', now = NOW): Promise<Leaf> =>
  leaf(ca, proxyUri(CLUSTER, PROXY_ID), algorithm, now)
export const userLeaf = (
  ca: Ca,
  user = 'alice',
  algorithm: KeyAlgorithm = 'ES256',
  now = NOW,
): Promise<Leaf> => leaf(ca, userUri(CLUSTER, user), algorithm, now, ALICE)

/** The code and the private reason of what a call throws. */
export async function failure(
  run: () => unknown,
): Promise<{ code: string; reason: string } | undefined> {
  try {
    await run()
    return undefined
  } catch (e) {
    const { code, internal, message } = e as { code: string; internal?: string; message: string }
    return { code, reason: internal ?? message }
  }
}
