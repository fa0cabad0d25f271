/**
 * Renewal of one service's credential (protocols.md 2): proof by the current and the next key, the next key on disk before it is
 * sent, the generation counted so that a copied identity shows itself. Over HTTP, so that it works while no tunnel does.
 */
import { credentials } from '../core/api/join.ts'
import { seconds, type Clock } from '../core/clock.ts'
import { encodeKey, signRenewal } from '../core/join/messages.ts'
import { keySigner } from '../core/certs/signer.ts'
import { AppError, invariant } from '../core/errors.ts'
import { parse } from '../core/parse.ts'
import type { Random } from '../core/random.ts'
import type { ApiClient } from '../net/http-client.ts'
import type { ClusterInfo } from './cluster.ts'
import { pkcs8, type HeldIdentity, type IdentityStore } from './identity/store.ts'
import { checkCredentials } from './join/join.ts'
import { provenCall } from './join/proven-call.ts'

export interface RenewOptions {
  readonly held: HeldIdentity
  readonly cluster: ClusterInfo
  readonly api: Pick<ApiClient, 'request'>
  readonly store: IdentityStore
  readonly clock: Clock
  readonly random: Random
  readonly signal: AbortSignal
}

export async function renewOnce(options: RenewOptions): Promise<HeldIdentity> {
  const { held, store, clock } = options
  const { service, stored } = held
  const { generation } = stored.credentials
  const next = await store.nextKey(service, { purpose: 'renew', generation })
  invariant(next.renewalId !== undefined, 'a renewal has an id')
  const nextSigner = keySigner(next.key)
  const request = await signRenewal(
    {
      cluster: stored.credentials.cluster,
      certificate: held.certificate.raw.toString('base64url'),
      generation,
      next_key: encodeKey(nextSigner.publicKey),
      renewal_id: next.renewalId,
      time: seconds(clock.now()),
    },
    { current: held.signer, next: nextSigner },
  )
  const knownKey = stored.credentials.join_key
  const answered = await provenCall({ ...options, knownKey }, '/v1/renew', request)
  const answer = parse(credentials, answered, { code: 'ERR_INTERNAL' })
  if (answer.agent_id !== held.agentId || answer.generation !== generation + 1)
    throw new AppError('ERR_INTERNAL', undefined, { internal: 'a renewal for somebody else' })
  checkCredentials(answer, { service, cluster: options.cluster, clock })
  return store.save(service, { ...stored, key: pkcs8(next.key), credentials: answer })
}

/**
 * Milliseconds until the renewal is due: half of the certificate's life, moved by up to a tenth of its life either way so that
 * agents that joined together do not renew together. 0 when it is overdue.
 */
export function renewalDelay(held: HeldIdentity, clock: Clock, random: Random): number {
  const { notBefore, notAfter } = held.certificate
  const life = notAfter - notBefore
  const due = notBefore + life * (0.5 + 0.2 * (random.float() - 0.5))
  return Math.max(0, due - clock.now())
}
