/**
 * Join method `bound_keypair`: a key that stays on the machine signs our challenge. The first join registers the key; each later
 * one has to show the join state of the one before, so that a copied key is noticed when either copy joins again.
 */
import * as z from 'zod'
import { CONTEXT, checkProof } from '../certs/proof.ts'
import { thumbprint } from '../certs/signer.ts'
import type { Instant } from '../clock.ts'
import type { JoinToken } from '../domain/token.ts'
import { AppError, invariant, reasonOf } from '../errors.ts'
import type { AgentId, Thumbprint } from '../ids.ts'
import type { Sealer } from '../seal.ts'
import { isRegistrationSecret, type BoundKeypairRules } from './bound-keypair-rule.ts'
import { openState, type BoundKeypair, type JoinState } from './bound-keypair-state.ts'
import type { BoundMove, JoinContext, JoinMethod } from './join-method.ts'
import { decodeKey } from './messages.ts'

export interface BoundKeypairStore {
  /** Strongly consistent; undefined until a key is registered. */
  get(token: JoinToken): Promise<BoundKeypair | undefined>
}
export interface BoundKeypairDeps {
  readonly boundKeypairs: BoundKeypairStore
  readonly challengeSealer: Sealer
  /** A copy of the key was noticed: nobody joins with it again, and the agent that it made is locked. */
  onCopied(token: JoinToken, agent: AgentId, now: Instant): Promise<void>
}

const evidence = z.strictObject({
  public_key: z.string().max(256),
  /** `prove(CONTEXT.boundKeypair, key, challenge)`, base64url. */
  signature: z.string().max(256),
  registration_secret: z.string().max(256).optional(),
  join_state: z.string().max(2048).optional(),
})
export type BoundKeypairEvidence = z.output<typeof evidence>

const refuse = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_JOIN_REFUSED', undefined, { internal: `bound_keypair: ${internal}`, cause })

/** The thumbprint of the key, which signed this very challenge. */
function provenKey(given: BoundKeypairEvidence, sealed: string): Thumbprint {
  let key
  try {
    key = decodeKey(given.public_key, 'public_key')
  } catch (cause) {
    throw refuse(reasonOf(cause), cause)
  }
  const signature = Buffer.from(given.signature, 'base64url')
  if (!checkProof(CONTEXT.boundKeypair, key, signature, Buffer.from(sealed, 'ascii')))
    throw refuse('the key did not sign this challenge')
  return thumbprint(key)
}

/** Whether this key may be registered, the first to come. */
function checkRegistration(
  rules: BoundKeypairRules,
  key: Thumbprint,
  secret: string | undefined,
  now: Instant,
): void {
  if (rules.registerBefore !== undefined && now >= rules.registerBefore)
    throw refuse('the time to register a key is over')
  if (rules.initialKey !== undefined) {
    if (rules.initialKey !== key) throw refuse('the key is not the one named beforehand')
    return
  }
  if (secret === undefined)
    throw refuse('no key is registered and no registration secret was given')
  if (!isRegistrationSecret(rules, secret)) throw refuse('the registration secret is wrong')
}

export function boundKeypairMethod(deps: BoundKeypairDeps): JoinMethod<BoundKeypairEvidence> {
  /** The state that a repeated join moves on from. */
  async function recover(
    given: BoundKeypairEvidence,
    { token, challenge, now }: JoinContext & { token: JoinToken },
    rules: BoundKeypairRules,
    bound: { key: Thumbprint; last: JoinState | undefined },
  ): Promise<Pick<BoundMove, 'from' | 'again'>> {
    const { key, last } = bound
    if (!last) return { from: undefined, again: false }
    if (last.enrolment === challenge.enrolment && last.serviceKey === challenge.serviceKey)
      return { from: last, again: true }
    if (rules.mode === 'standard' && last.sequence >= rules.limit)
      throw refuse(`the recovery limit of ${rules.limit} is reached`)
    if (rules.mode !== 'insecure') {
      if (given.join_state === undefined) throw refuse('no join state was given')
      const of = { service: challenge.service, key }
      const sequence = openState(deps.challengeSealer, token, of, given.join_state)
      if (sequence === undefined)
        throw refuse('the join state is not of this token, key and service')
      if (sequence !== last.sequence) {
        await deps.onCopied(token, last.agentId, now)
        throw refuse(
          `copied keypair: join state ${sequence} instead of ${last.sequence}; the key and its agent are locked now`,
        )
      }
    }
    return { from: last, again: false }
  }

  return {
    name: 'bound_keypair',
    strength: 'bound',
    tokenBy: 'name',
    evidence,
    async verify(given, context) {
      const { token, sealed, challenge, now } = context
      const rules = token?.boundKeypair
      invariant(token && rules, 'a token of method bound_keypair has its rules')
      const key = provenKey(given, sealed)
      const known = await deps.boundKeypairs.get(token)
      if (!known) checkRegistration(rules, key, given.registration_secret, now)
      else if (known.key !== key) throw refuse('another key is registered for this token')
      else if (known.locked) throw refuse('the key is locked because it was copied')
      const last = known?.services[challenge.service]
      const moved = await recover(given, { ...context, token }, rules, { key, last })
      return {
        subject: `keypair:${key}`,
        attributes: { key, ...(last ? { joins: String(last.sequence) } : {}) },
        token: { by: 'name', name: challenge.token },
        bound: { ...moved, key, register: !known },
      }
    },
  }
}
