/**
 * A call of the join verb by an agent that pins the host CA: sealed to a key that the host CA vouches for, and answered under it, so
 * that it does not matter whose certificate TLS showed (docs/join/sealed-joins.md). Without pins the call is as TLS carries it.
 */
import { joinKeyAnswer } from '../../core/api/join.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import type { Clock } from '../../core/clock.ts'
import { AppError, isAppError } from '../../core/errors.ts'
import {
  openJoinKey,
  sealRequest,
  type JoinPublicKey,
  type SealedPath,
} from '../../core/join/sealed-call.ts'
import { parse } from '../../core/parse.ts'
import type { Random } from '../../core/random.ts'
import type { ApiClient } from '../../net/http-client.ts'
import type { ClusterInfo } from '../cluster.ts'

export interface ProvenCallDeps {
  readonly cluster: Pick<ClusterInfo, 'cluster' | 'pinnedCas'>
  readonly api: Pick<ApiClient, 'request'>
  readonly clock: Clock
  readonly random: Random
  readonly signal: AbortSignal
  /** The statement that the last answer brought. */
  readonly knownKey?: string | undefined
}

/** The key of the cluster's join verb. Throws ERR_CA_PIN_MISMATCH when no host CA that is believed vouches for one. */
export async function provenKey(deps: Omit<ProvenCallDeps, 'random'>): Promise<JoinPublicKey> {
  const { api, clock, signal } = deps
  const { cluster, pinnedCas } = deps.cluster
  const check = { cas: pinnedCas.map((pem) => readCertificate(pem)), cluster, now: clock.now() }
  if (deps.knownKey !== undefined) {
    const known = await openJoinKey(deps.knownKey, check).catch(() => undefined)
    if (known) return known
  }
  const asked = await api
    .request('GET', '/v1/join/key', undefined, { signal })
    .catch((cause: unknown) => {
      if (!isAppError(cause) || cause.code !== 'ERR_NOT_FOUND') throw cause
      const text = 'it cannot prove the pinned CA: it is older than this agent, or not the cluster'
      throw new AppError('ERR_CA_PIN_MISMATCH', text, { cause })
    })
  return openJoinKey(parse(joinKeyAnswer, asked, { code: 'ERR_INTERNAL' }).join_key, check)
}

/** The answer; untrusted in shape, give it to a schema. Throws ERR_CA_PIN_MISMATCH before anything of `body` is sent. */
export async function provenCall(
  deps: ProvenCallDeps,
  path: SealedPath,
  body: unknown,
): Promise<unknown> {
  const { api, random, signal } = deps
  if (deps.cluster.pinnedCas.length === 0) return api.request('POST', path, body, { signal })
  const sealed = await sealRequest(await provenKey(deps), { path, body }, random)
  return sealed.open(await api.request('POST', path, sealed.request, { signal }))
}
