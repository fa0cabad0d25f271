/**
 * The join state of a bound keypair: how often a service has joined with it. The agent keeps it as a document that only the
 * join function can read or make, sealed with that function's own secret, so that no CA key signs anything but certificates;
 * the table keeps the same number. A copy of the key falls behind as soon as the original joins, and is then noticed.
 */
import * as z from 'zod'
import type { IdentityKind } from '../domain/service.ts'
import { IDENTITY_KINDS } from '../domain/service.ts'
import type { JoinToken } from '../domain/token.ts'
import { seconds } from '../clock.ts'
import type { AgentId, Thumbprint } from '../ids.ts'
import type { Sealer } from '../seal.ts'

/** What the table knows of one service's joins. */
export interface JoinState {
  /** Joins so far, the first included. */
  readonly sequence: number
  /** Of the last join: who it was. */
  readonly agentId: AgentId
  readonly enrolment: Thumbprint
  readonly serviceKey: Thumbprint
}

/** What the table knows of a token's keypair. */
export interface BoundKeypair {
  readonly key: Thumbprint
  /** Set when a copy was noticed: nobody joins with it again. */
  readonly locked: boolean
  readonly services: Readonly<Partial<Record<IdentityKind, JoinState>>>
}

const CONTEXT = 'bound-keypair-state.v1'
const shape = z.strictObject({
  /** Token, and when it was made: a later token of the same name is another one. */
  t: z.string(),
  c: z.int(),
  k: z.string(),
  s: z.enum(IDENTITY_KINDS),
  n: z.int().min(1),
})

export interface StateDocument {
  readonly service: IdentityKind
  readonly key: Thumbprint
  readonly sequence: number
}

export function sealState(sealer: Sealer, token: JoinToken, state: StateDocument): string {
  const plain: z.input<typeof shape> = {
    t: token.name,
    c: seconds(token.created),
    k: state.key,
    s: state.service,
    n: state.sequence,
  }
  return sealer.seal(Buffer.from(JSON.stringify(plain), 'utf8'), CONTEXT)
}

/** The sequence that a document proves for this token, key and service; undefined when it proves none. */
export function openState(
  sealer: Sealer,
  token: JoinToken,
  of: Omit<StateDocument, 'sequence'>,
  sealed: string,
): number | undefined {
  const plain = sealer.open(sealed, CONTEXT)
  if (!plain) return undefined
  const { t, c, k, s, n } = shape.parse(JSON.parse(plain.toString('utf8')))
  const ours = t === token.name && c === seconds(token.created) && k === of.key && s === of.service
  return ours ? n : undefined
}
