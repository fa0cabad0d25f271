/**
 * The CAs as this process knows them now. Rotations are made by another function or another process, so what is known is read
 * again when it is older than LIMITS.caRefresh; a phase is never shorter than LIMITS.caPhaseMin, so whoever signs with the key
 * from before is still believed.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Signer } from '../../core/certs/signer.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import type { Clock } from '../../core/clock.ts'
import { CA_KINDS, signingKey, type CaKind, type CaState } from '../../core/domain/ca.ts'
import { invariant, reasonOf } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Log } from '../../core/log.ts'
import type { Authority, PublicCas } from '../deps.ts'
import { publicCas } from '../signers/public-cas.ts'
import type { CaStore } from '../store/ca-store.ts'
import type { CaKeyring } from './keyring.ts'

export interface LiveCas {
  /** Public halves of all that is trusted. */
  readonly now: PublicCas
  readonly states: readonly CaState[]
  /** Reads the table: when what is known is old, or in any case. A table that does not answer leaves what is known in force. */
  refresh(how: 'when old' | 'now'): Promise<void>
}

export interface SigningCas extends LiveCas {
  /** host, user: the CA that signs now. */
  authority(kind: 'host' | 'user'): Authority
  /** Who signs now. */
  signer(kind: CaKind): Signer
}

export interface LiveCasDeps {
  readonly store: Pick<CaStore, 'states'>
  readonly keyring: CaKeyring
  /** The kinds that this verb signs with; the keys of others are never opened. */
  readonly signs: readonly CaKind[]
  /** States of CAs that no row tells of: those that a deployment was made with. */
  readonly initial?: readonly CaState[]
  readonly clock: Clock
  readonly log: Log
  /** Called when something else is known than before. */
  onChange?: (() => void) | undefined
}

interface Known {
  readonly states: readonly CaState[]
  readonly cas: PublicCas
  readonly signers: ReadonlyMap<CaKind, Signer>
  readonly authorities: ReadonlyMap<CaKind, Authority>
  readonly at: number
}

export async function openLiveCas(deps: LiveCasDeps): Promise<SigningCas> {
  const { store, keyring, clock, log } = deps
  const opened = new Map<string, Signer>()

  async function signerOf(state: CaState): Promise<Signer> {
    const key = signingKey(state)
    const kept = opened.get(key.pin)
    if (kept) return kept
    const signer = await keyring.open(state.kind, key)
    opened.set(key.pin, signer)
    return signer
  }

  let known: Known | undefined

  async function read(): Promise<Known> {
    const at = clock.monotonic()
    const rows = await store.states()
    const states = CA_KINDS.map((kind) => {
      const found = [...rows, ...(deps.initial ?? [])].find((state) => state.kind === kind)
      invariant(found, `the ${kind} CA is in the table`)
      return found
    })
    // Nearly always: keys are parsed once and not at every look.
    if (known && isDeepStrictEqual(states, known.states)) return { ...known, at }
    const signers = new Map<CaKind, Signer>()
    const authorities = new Map<CaKind, Authority>()
    for (const state of states) {
      if (!deps.signs.includes(state.kind)) continue
      const signer = await signerOf(state)
      signers.set(state.kind, signer)
      const { certificate } = signingKey(state)
      if (certificate !== undefined)
        authorities.set(state.kind, { certificate: readCertificate(certificate), signer })
    }
    return { states, cas: publicCas(states), signers, authorities, at }
  }

  const first = await read()
  known = first
  const current = (): Known => known ?? first
  let reading: Promise<void> | undefined

  const again = (): Promise<void> =>
    (reading ??= read()
      .then((next) => {
        const before = current().cas.version
        known = next
        if (next.cas.version === before) return
        log.info('ca.changed', { version: next.cas.version })
        deps.onChange?.()
      })
      .finally(() => {
        reading = undefined
      }))

  return {
    get now() {
      return current().cas
    },
    get states() {
      return current().states
    },
    async refresh(how) {
      if (how === 'now') {
        // A read that began before the caller's own write may have missed it.
        await reading?.catch(() => undefined)
        return again()
      }
      if (clock.monotonic() - current().at < LIMITS.caRefresh.value) return
      await again().catch((e: unknown) => log.warn('ca.not_read', { reason: reasonOf(e) }))
    },
    authority(kind) {
      const found = current().authorities.get(kind)
      invariant(found, `this verb signs with the ${kind} CA`)
      return found
    },
    signer(kind) {
      const found = current().signers.get(kind)
      invariant(found, `this verb signs with the ${kind} key`)
      return found
    },
  }
}

/** The state of a CA that nobody has rotated yet. */
export const firstState = (kind: CaKind, current: CaState['current']): CaState => ({
  kind,
  version: 1,
  phase: 'standby',
  current,
  rotation: undefined,
  retired: [],
  rotated: undefined,
})
