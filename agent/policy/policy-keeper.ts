/** What the rest of the agent sees of the policy that it holds. */
import type { KeyObject } from 'node:crypto'
import type { Certificate } from '../../core/certs/x509-read.ts'
import type { AgentId } from '../../core/ids.ts'
import type { PolicyView } from '../services/service.ts'
import type { TrustedCas } from './trusted-cas.ts'

/** What joining tells, and what nothing but a signed document changes afterwards. */
export interface PolicyAnchor {
  readonly cluster: string
  readonly agentId: AgentId
  /** JWKs. */
  readonly keys: readonly Readonly<Record<string, unknown>>[]
}

/** new: it is in force now · same: known already · old: refused, a newer one is known · newer: a stamp for a version we lack. */
export type Taken = 'new' | 'same' | 'old' | 'newer'

export interface PolicyKeeper {
  readonly view: PolicyView
  /** Reads what the last run kept. Later calls of `anchor` do not replace the keys found there. */
  load(): Promise<void>
  anchor(anchor: PolicyAnchor): Promise<void>
  /**
   * Takes a token of the policy key: a document or a freshness stamp. `links` lead from an older policy key to the one that
   * signed it. Rejects with ERR_PROOF_INVALID.
   */
  take(token: string, links?: readonly string[]): Promise<Taken>
  /** Takes the signed CAs, when nothing else can be believed. Rejects with ERR_PROOF_INVALID. */
  takeCas(signed: { readonly jws: string; readonly links: readonly string[] }): Promise<void>
  /** undefined before anything signed tells of them. */
  readonly cas: TrustedCas | undefined
  /** Called when other CAs are believed than before, or another one signs. Returns the unsubscribe. */
  onCas(fn: () => void): () => void
  /** 0 when there is none. */
  readonly version: number
  /** Milliseconds since the newest proof that the policy in force is the newest. Infinity when there is none. */
  age(): number
  /** Keys that routes are signed by. */
  keys(): readonly KeyObject[]
  userCas(): readonly Certificate[]
  /** Has live sessions decided again for another reason than a new policy: labels or apps changed. */
  recheck(): void
  /** Resolves when everything taken so far is on disk. */
  saved(): Promise<void>
}
