/**
 * Rotating a CA: each call moves one CA by one phase. Keys are made before the table names them and retired after it names them
 * no more, so that a crash in between leaves a key too many and never one too few.
 */
import { plus } from '../../core/clock.ts'
import {
  advanceRotation,
  beginRotation,
  cutOver,
  phaseAfter,
  phaseEnds,
  rollBack,
  signingKey,
  trustedKeys,
  type CaKey,
  type CaKind,
  type CaPhase,
  type CaState,
} from '../../core/domain/ca.ts'
import { AppError, badField, reasonOf } from '../../core/errors.ts'
import { untrustedLinkTarget } from '../../core/certs/policy-key-link.ts'
import { formatDuration } from '../../core/duration.ts'
import { LIMITS } from '../../core/limits.ts'
import type { RotateDeps } from '../deps.ts'
import { stateOf } from '../store/ca-store.ts'
import { agentsOnOldKey } from './old-keys.ts'
import { caKeyOf } from './new-key.ts'

export interface RotateRequest {
  readonly kind: CaKind
  /** undefined: an automatic rotation from its beginning. */
  readonly phase: CaPhase | undefined
  /** ms; undefined: the default. 0: cut over at once. */
  readonly grace: number | undefined
  /** Skips the checks that keep somebody from being locked out. */
  readonly force: boolean
}

export interface Rotator {
  states(): Promise<readonly CaState[]>
  rotate(request: RotateRequest): Promise<CaState>
  rollback(kind: CaKind): Promise<CaState>
  /** Moves automatic rotations that are due. Answers those that moved. */
  tick(): Promise<CaState[]>
}

const conflict = (message: string): AppError => new AppError('ERR_CONFLICT', message)

export function createRotator(deps: RotateDeps): Rotator {
  const { clock, keyring, stores, log } = deps

  async function current(kind: CaKind): Promise<CaState> {
    await deps.cas.refresh('now')
    const state = stateOf(deps.cas.states, kind)
    if (state) return state
    throw new AppError('ERR_INTERNAL', undefined, { internal: `no state of the ${kind} CA` })
  }

  /** A state that came from the deployment and not from a row is put as the first one. */
  async function replace(next: CaState, before: CaState): Promise<CaState> {
    const rows = await stores.cas.states()
    await stores.cas.replace(next, stateOf(rows, next.kind) ? before.version : 0)
    await retireDropped(before, next)
    await deps.cas.refresh('now')
    log.info('ca.phase', { kind: next.kind, phase: next.phase, signs: signingKey(next).pin })
    return next
  }

  async function retireDropped(before: CaState, next: CaState): Promise<void> {
    const kept = new Set(trustedKeys(next).map((key) => key.pin))
    for (const key of trustedKeys(before))
      if (!kept.has(key.pin))
        await keyring
          .retire(next.kind, key)
          .catch((e: unknown) => log.warn('ca.key_not_retired', { reason: reasonOf(e) }))
  }

  async function newKey(kind: CaKind): Promise<CaKey> {
    return caKeyOf(kind, await keyring.create(kind), deps)
  }

  function graceOf(asked: number | undefined): number {
    const grace = asked ?? LIMITS.caGraceDefault.value
    const [min, max] = [LIMITS.caGraceMin.value, LIMITS.caGraceMax.value]
    if (grace < min || grace > max)
      throw badField(
        'grace',
        `use ${formatDuration(min)} to ${formatDuration(max)}, or 0s to cut over at once`,
      )
    return grace
  }

  /** Why the phase must not end yet: for an operator to read. undefined: it may. */
  async function tooEarly(state: CaState): Promise<string | undefined> {
    const { kind, phase, rotation } = state
    if (!rotation) return undefined
    const now = clock.now()
    const inPhase = now - rotation.since
    if (inPhase < LIMITS.caPhaseMin.value)
      return `phase ${phase} began ${formatDuration(inPhase)} ago; functions and proxies need ${formatDuration(LIMITS.caPhaseMin.value)} to see it`
    if (kind === 'policy' && phase !== 'rollback' && !(await linked(rotation.next)))
      return 'the old policy key has not signed the new one yet; it does with the next policy that an agent or proxy asks for'
    if (phaseAfter(phase) !== 'standby' || rotation.switched === undefined) return undefined
    if (kind === 'host') {
      const left = await agentsOnOldKey(deps, state)
      return left.length === 0
        ? undefined
        : `${left.length} service${left.length === 1 ? '' : 's'} of agents still hold certificates of the other key, as ${left[0]}; they would have to join again`
    }
    const life = kind === 'user' ? LIMITS.userCertTtl.value : LIMITS.routeTtl.value
    const what = kind === 'user' ? 'user certificates' : 'routes'
    const until = plus(rotation.switched, life)
    return now >= until
      ? undefined
      : `${what} of the other key may be in use for ${formatDuration(until - now)} yet`
  }

  /** Whether the old policy key vouched for this one: without it nobody could follow. */
  async function linked(next: CaKey): Promise<boolean> {
    const links = (await stores.cas.signed())?.links ?? []
    return links.some((link) => untrustedLinkTarget(link) === next.jwk?.kid)
  }

  async function begin(state: CaState, request: RotateRequest): Promise<CaState> {
    const { kind, phase } = request
    if (request.grace === 0) return cut(state, request)
    const mode = phase === undefined ? 'auto' : 'manual'
    const grace = graceOf(request.grace)
    // Refused before a key is made for nothing.
    if (state.rotation)
      return beginRotation(state, state.current, { mode, grace, now: clock.now() })
    const next = await newKey(kind)
    return replace(beginRotation(state, next, { mode, grace, now: clock.now() }), state)
  }

  async function cut(state: CaState, { kind, phase }: RotateRequest): Promise<CaState> {
    if (phase !== undefined) throw badField('phase', 'a rotation with grace 0 has no phases')
    if (kind === 'policy')
      throw badField(
        'grace',
        'the policy key changes only by a rotation that the old key signed: give it time',
      )
    if (state.rotation)
      throw conflict(`the ${kind} CA is in phase ${state.phase}; roll it back first`)
    return replace(cutOver(state, await newKey(kind), clock.now()), state)
  }

  async function advance(state: CaState, phase: CaPhase, force: boolean): Promise<CaState> {
    const next = phaseAfter(state.phase)
    if (phase === state.phase) return state
    if (phase !== next)
      throw badField(
        'phase',
        `the ${state.kind} CA is in phase ${state.phase}; the next is ${next}`,
      )
    const wait = force ? undefined : await tooEarly(state)
    if (wait !== undefined) throw conflict(`${wait} (force does it all the same)`)
    return replace(advanceRotation(state, clock.now()), state)
  }

  return {
    async states() {
      await deps.cas.refresh('now')
      return deps.cas.states
    },

    async rotate(request) {
      const state = await current(request.kind)
      const { phase } = request
      if (phase === undefined || (phase === 'init' && !state.rotation)) return begin(state, request)
      if (phase === 'rollback') throw badField('phase', 'a rollback is a call of its own')
      if (request.grace !== undefined) throw badField('grace', 'is given at the beginning')
      return advance(state, phase, request.force)
    },

    async rollback(kind) {
      const state = await current(kind)
      return replace(rollBack(state, clock.now()), state)
    },

    async tick() {
      const moved: CaState[] = []
      await deps.cas.refresh('now')
      for (const state of deps.cas.states) {
        const ends = phaseEnds(state)
        if (ends === undefined || clock.now() < ends) continue
        // Only what would break everybody makes an automatic rotation wait; its length was somebody's decision.
        if (state.kind === 'policy' && state.phase !== 'rollback' && state.rotation)
          if (!(await linked(state.rotation.next))) continue
        try {
          moved.push(await replace(advanceRotation(state, clock.now()), state))
        } catch (e) {
          // Another tick came first, or the table is away: the next one sees.
          log.warn('ca.not_advanced', { kind: state.kind, reason: reasonOf(e) })
        }
      }
      return moved
    },
  }
}
