/**
 * A CA and its rotation. Two keys at most are trusted at a time, and one of them signs:
 *
 *   phase            signs: host      user      policy     what happens
 *   standby          the one key                           nothing
 *   init             old       old       old       everybody comes to trust the new key as well
 *   update_clients   old       new       old       users: their profiles know the new key, their certificates are of it
 *   update_servers   new       new       new       agents and proxies renew, so that they hold certificates of the new key
 *   standby          the new key alone: the old one is trusted by nobody any more
 *   rollback         old       old       old       from any phase: whoever took a certificate of the new key renews
 *
 * A key of users is trusted by servers before it signs; a key of servers by users before it signs. That is why the phases come in
 * this order and no other.
 */
import type { Instant } from '../clock.ts'
import { plus } from '../clock.ts'
import { AppError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { JsonWebKeyLike } from './policy.ts'

export const CA_KINDS = ['host', 'user', 'policy'] as const
export type CaKind = (typeof CA_KINDS)[number]
export const CA_PHASES = [
  'standby',
  'init',
  'update_clients',
  'update_servers',
  'rollback',
] as const
export type CaPhase = (typeof CA_PHASES)[number]

/** The public half of one CA key. */
export interface CaKey {
  /** Where its holder finds the private half: the name of a file, an id in KMS. Empty: the key that the deployment was made with. */
  readonly ref: string
  /** `sha256:<hex>` of the SPKI. */
  readonly pin: string
  readonly created: Instant
  /** host, user: the self-signed certificate, PEM. */
  readonly certificate: string | undefined
  /** policy: the public key. */
  readonly jwk: JsonWebKeyLike | undefined
}

export interface CaRotation {
  /** Under auto the phases follow each other within `grace`; under manual an operator asks for each. */
  readonly mode: 'auto' | 'manual'
  /** From the beginning to the last standby, ms. */
  readonly grace: number
  readonly started: Instant
  /** When this phase began. */
  readonly since: Instant
  /** When the key that signs last changed; undefined while it has not. */
  readonly switched: Instant | undefined
  readonly next: CaKey
}

export interface CaState {
  readonly kind: CaKind
  /** Counts changes; moves by compare and set. */
  readonly version: number
  readonly phase: CaPhase
  /** The key from before the rotation; the only one under standby. */
  readonly current: CaKey
  /** undefined under standby, and only then. */
  readonly rotation: CaRotation | undefined
  /** Pins that are trusted no more, newest first. */
  readonly retired: readonly string[]
  /** When the last rotation was completed. */
  readonly rotated: Instant | undefined
}

const NEW_SIGNS: Readonly<Record<CaKind, readonly CaPhase[]>> = {
  host: ['update_servers'],
  user: ['update_clients', 'update_servers'],
  policy: ['update_servers'],
}

/** The key that signs now. */
export const signingKey = ({ kind, phase, current, rotation }: CaState): CaKey =>
  rotation && NEW_SIGNS[kind].includes(phase) ? rotation.next : current

/** Every key that is trusted now, the one that signs first. */
export function trustedKeys(state: CaState): CaKey[] {
  const first = signingKey(state)
  const all = [state.current, ...(state.rotation ? [state.rotation.next] : [])]
  return [first, ...all.filter((key) => key.pin !== first.pin)]
}

const FOLLOWS: Readonly<Record<CaPhase, CaPhase>> = {
  standby: 'init',
  init: 'update_clients',
  update_clients: 'update_servers',
  update_servers: 'standby',
  rollback: 'standby',
}
export const phaseAfter = (phase: CaPhase): CaPhase => FOLLOWS[phase]

/**
 * Shares of the grace period. The last phase has two thirds: with a grace of 36 hours that is a whole life of an agent's
 * certificate, so that nobody who was there at any time of it is left with a certificate of the old key.
 */
const SHARE: Readonly<Record<CaPhase, number>> = {
  standby: 0,
  init: 1 / 6,
  update_clients: 1 / 6,
  update_servers: 4 / 6,
  rollback: 4 / 6,
}

/** When the phase ends by itself; undefined under standby and for rotations by hand. */
export function phaseEnds({ phase, rotation }: CaState): Instant | undefined {
  if (!rotation) return undefined
  if (rotation.mode === 'manual' && phase !== 'rollback') return undefined
  return plus(rotation.since, rotation.grace * SHARE[phase])
}

/** By when whoever holds a certificate of the key that does not sign any more renews it: the middle of the phase. */
export function renewBy(state: CaState): Instant | undefined {
  const { rotation } = state
  if (rotation?.switched === undefined) return undefined
  const ends = phaseEnds(state)
  const half = ends === undefined ? LIMITS.caRenewSpread.value : (ends - rotation.since) / 2
  return plus(rotation.since, half)
}

const conflict = (message: string): AppError => new AppError('ERR_CONFLICT', message)

/** Throws ERR_CONFLICT when a rotation is under way. */
export function beginRotation(
  state: CaState,
  next: CaKey,
  how: { readonly mode: CaRotation['mode']; readonly grace: number; readonly now: Instant },
): CaState {
  if (state.rotation)
    throw conflict(
      `the ${state.kind} CA is in phase ${state.phase}; the next is ${phaseAfter(state.phase)}`,
    )
  const { mode, grace, now } = how
  return {
    ...state,
    version: state.version + 1,
    phase: 'init',
    rotation: { mode, grace, started: now, since: now, switched: undefined, next },
  }
}

const retire = (state: CaState, pin: string): string[] =>
  [pin, ...state.retired.filter((one) => one !== pin)].slice(0, LIMITS.caRetiredPins.value)

/** The state after the phase that is there. Throws ERR_CONFLICT under standby. */
export function advanceRotation(state: CaState, now: Instant): CaState {
  const { rotation } = state
  if (!rotation) throw conflict(`no rotation of the ${state.kind} CA is under way`)
  const phase = phaseAfter(state.phase)
  const version = state.version + 1
  if (phase !== 'standby') {
    const moved = { ...state, version, phase, rotation: { ...rotation, since: now } }
    const switched = signingKey(moved).pin !== signingKey(state).pin ? now : rotation.switched
    return { ...moved, rotation: { ...moved.rotation, switched } }
  }
  const done = { ...state, version, phase, rotation: undefined }
  return state.phase === 'rollback'
    ? { ...done, retired: retire(state, rotation.next.pin) }
    : { ...done, current: rotation.next, retired: retire(state, state.current.pin), rotated: now }
}

/** Back to the old key. What the new one never signed needs no phase: then it is standby at once. */
export function rollBack(state: CaState, now: Instant): CaState {
  const { rotation } = state
  if (!rotation) throw conflict(`no rotation of the ${state.kind} CA is under way`)
  if (state.phase === 'rollback') throw conflict(`the ${state.kind} CA is being rolled back`)
  const back: CaState = {
    ...state,
    version: state.version + 1,
    phase: 'rollback',
    rotation: { ...rotation, since: now, switched: now },
  }
  if (rotation.switched !== undefined) return back
  return { ...advanceRotation(back, now), version: back.version }
}

/** Old key out, new key in, with nothing in between: whoever holds a certificate of the old key joins or signs in again. */
export const cutOver = (state: CaState, next: CaKey, now: Instant): CaState => ({
  ...state,
  version: state.version + 1,
  phase: 'standby',
  current: next,
  rotation: undefined,
  retired: retire(state, state.current.pin),
  rotated: now,
})
