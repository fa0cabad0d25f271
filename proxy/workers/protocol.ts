/** What the first process of a proxy and its workers ask of each other. Everything here is plain data. */
import type { Policy } from '../../core/domain/policy.ts'
import type { PresenceStore } from '../../core/domain/presence.ts'
import type { ServiceKind } from '../../core/domain/service.ts'
import type { AgentId, ConnId } from '../../core/ids.ts'
import type { MetricsDump } from '../../core/metrics/metrics.ts'
import type { Health } from '../../net/diagnostics.ts'
import type { SignedPolicy } from '../policy-source.ts'

/** A tunnel, as the other workers need to know it. */
export type Standing =
  | {
      readonly kind: 'agent'
      readonly connId: ConnId
      readonly agentId: AgentId
      readonly service: ServiceKind
    }
  | { readonly kind: 'user'; readonly connId: ConnId; readonly user: string }

/** What changed at one worker. */
export interface News {
  readonly worker: number
  /** Its private socket. Undefined: the worker is gone, and all that it had. */
  readonly path: string | undefined
  readonly opened: readonly Standing[]
  readonly closed: readonly ConnId[]
}

export interface WorkerStart<Given> {
  readonly worker: number
  readonly of: number
  readonly bootId: string
  /** Where this worker's private socket is to be. */
  readonly path: string
  /** The others, and what they have. */
  readonly others: readonly News[]
  /** What the command gives its workers. */
  readonly given: Given
}

/** What a worker answers. */
export interface WorkerCalls<Given> {
  /** Resolves with the port when the worker listens. */
  start(start: WorkerStart<Given>): Promise<number>
  /** Something of what was given is new: the identity, the time. */
  update(given: Given): void
  news(news: News): void
  ready(): Health
  dump(): MetricsDump
  /** Resolves when its tunnels are gone or the time is up. */
  drain(ms: number): Promise<void>
}

/** What the first process answers: the table and the control plane, which it alone talks to, and what it is told. */
export type PrimaryCalls = PresenceStore & {
  /** The worker is there and listens. */
  here(): void
  policy(): Promise<SignedPolicy>
  freshness(): Promise<string>
  /** A policy that was verified and came into force. */
  policyTaken(policy: Policy): void
  changed(opened: readonly Standing[], closed: readonly ConnId[]): void
}
