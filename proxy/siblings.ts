/**
 * The other processes of this very proxy, as far as one of them needs them: where a tunnel is that another one has, and the way
 * there. A proxy that is one process has none.
 */
import type { ServiceKind } from '../core/domain/service.ts'
import type { AgentId } from '../core/ids.ts'
import type { TunnelStream } from '../core/tunnel/stream.ts'
import type { AnyWay } from './first-answer.ts'
import type { Tunnel } from './tunnels.ts'

export interface SiblingHandlers {
  /** A user's stream that came in at another process and whose agent is here. */
  onOpen(stream: TunnelStream, payload: Buffer): void | Promise<void>
  /** An agent service came in at another process. */
  onAgent(agentId: AgentId, service: ServiceKind): void
  /** It left there. */
  onAgentGone(agentId: AgentId, service: ServiceKind): void
}

export interface SiblingLink extends AnyWay {
  /** Never called: processes of one proxy leave together, and a stream that has to move is told by its agent's tunnel. */
  readonly onLeaving: Set<() => void>
}

export interface Siblings {
  /** Called once, before anything else. */
  attach(handlers: SiblingHandlers): void
  /** Tells the others of a tunnel of this process, and that it is gone. */
  opened(tunnel: Tunnel): void
  closed(tunnel: Tunnel): void
  /** Tunnels that the others have. */
  countOfAgent(agentId: AgentId, service: ServiceKind): number
  countOfUser(user: string): number
  /** Links to those that have one of these agents, in random order, each dialled when it is asked for. */
  reach(
    agentIds: readonly AgentId[],
    service: ServiceKind,
    signal: AbortSignal,
  ): AsyncGenerator<SiblingLink, void, undefined>
  close(): void
}

export const NO_SIBLINGS: Siblings = {
  attach: () => undefined,
  opened: () => undefined,
  closed: () => undefined,
  countOfAgent: () => 0,
  countOfUser: () => 0,
  async *reach() {
    // Nobody.
  },
  close: () => undefined,
}
