/** An agent: one process on a machine, with one identity per service. Its id is made by the server. */
import type { Instant } from '../clock.ts'
import type { AgentId, Thumbprint } from '../ids.ts'
import type { Labels } from './name.ts'
import type { IdentityKind } from './service.ts'

export interface Agent {
  readonly id: AgentId
  readonly nodeName: string
  /** The key that joined it; adding a service needs its signature. */
  readonly enrolment: Thumbprint
  /** The token that admitted it first. */
  readonly tokenName: string
  readonly forcedLabels: Labels
  /** Of the token as well, for keys that the agent does not label itself. */
  readonly suggestedLabels: Labels
  readonly allowedNames: readonly string[] | undefined
  readonly sharedNames: boolean
  readonly created: Instant
}

/** One service's credential as the table knows it. */
export interface ServiceIdentity {
  readonly agentId: AgentId
  readonly service: IdentityKind
  /** Generation of the newest certificate issued; the first is 1. */
  readonly generation: number
  /** Key of the newest certificate. */
  readonly current: Thumbprint
  /** Key that the newest renewal was signed with; equal to `current` at the first issue. */
  readonly previous: Thumbprint
  readonly issued: Instant
  readonly expires: Instant
  /** Pin of the CA that signed the newest certificate; undefined for certificates from before rotations were known. */
  readonly ca: string | undefined
  /** When the row came back from a backup; what was issued between the two is not known (ADR 0028). Undefined from the next renewal on. */
  readonly restored?: Instant | undefined
}
