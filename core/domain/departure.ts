/**
 * A service that left its agent: its credential is worth nothing any more, though its certificate still runs. A service that joins
 * again gets certificates issued later than `until`, so the old ones and the new ones are told apart by when they were issued.
 */
import { plus, type Instant } from '../clock.ts'
import type { AgentId } from '../ids.ts'
import { LIMITS } from '../limits.ts'
import type { ServiceKind } from './service.ts'

export interface Departure {
  readonly agentId: AgentId
  readonly service: ServiceKind
  /** Certificates issued up to this second are void. */
  readonly until: Instant
  /** When the last of them has run out by itself. */
  readonly expires: Instant
}

/** When an agent's certificate was issued: its `notBefore` lies back by a fixed time, for clocks that lag. */
export const issuedAt = (certificate: { readonly notBefore: Instant }): Instant =>
  plus(certificate.notBefore, LIMITS.certBackdate.value)
