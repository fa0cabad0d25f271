/**
 * One worker's view of the others: what they have, as the first process tells it, and a session with each that is needed, over a
 * socket in a directory that only this user can enter. No handshake: whoever can open it could as well read this process's memory.
 */
import { connect, createServer, type Socket } from 'node:net'
import { once } from 'node:events'
import type { Clock, Timer } from '../../core/clock.ts'
import { AppError, reasonOf } from '../../core/errors.ts'
import type { ConnId } from '../../core/ids.ts'
import type { Log } from '../../core/log.ts'
import { shuffled, type Random } from '../../core/random.ts'
import { createSession, type Session } from '../../core/tunnel/session.ts'
import type { WindowBudget } from '../../core/tunnel/window-budget.ts'
import { LIMITS } from '../../core/limits.ts'
import { hopeFor } from '../../net/patience.ts'
import { socketTransport } from '../../net/transport-socket.ts'
import type { SiblingHandlers, SiblingLink, Siblings } from '../siblings.ts'
import type { Tunnel } from '../tunnels.ts'
import { within } from '../within.ts'
import type { News, Standing } from './protocol.ts'

export interface SiblingsDeps {
  /** This process's. */
  readonly budget: WindowBudget
  tell(opened: readonly Standing[], closed: readonly ConnId[]): void
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

export interface WorkerSiblings extends Siblings {
  take(news: News): void
  /** Opens this worker's own socket. */
  listen(path: string): Promise<void>
}

interface Sibling {
  readonly path: string
  readonly tunnels: Map<ConnId, Standing>
  link: Promise<SiblingLink> | undefined
}

const agentKey = (agentId: string, service: string): string => `agent/${agentId}/${service}`
const userKey = (user: string): string => `user/${user}`
const keyOf = (tunnel: Standing): string =>
  tunnel.kind === 'agent' ? agentKey(tunnel.agentId, tunnel.service) : userKey(tunnel.user)

function standingOf(tunnel: Tunnel): Standing | undefined {
  const { connId } = tunnel
  if (tunnel.kind === 'user') return { kind: 'user', connId, user: tunnel.identity.user }
  if (tunnel.kind === 'peer') return undefined
  const { agentId, service } = tunnel.identity
  return { kind: 'agent', connId, agentId, service }
}

export function createWorkerSiblings(deps: SiblingsDeps): WorkerSiblings {
  const { budget, clock, random, log } = deps
  const siblings = new Map<number, Sibling>()
  /** How many tunnels of each key each sibling has. */
  const holders = new Map<string, Map<number, number>>()
  const sessions = new Set<Session>()
  let handlers: SiblingHandlers | undefined
  let told: { opened: Map<ConnId, Standing>; closed: Set<ConnId> } | undefined

  /** What happens in one turn goes out as one message. */
  function changes(): NonNullable<typeof told> {
    if (told) return told
    told = { opened: new Map(), closed: new Set() }
    setImmediate(() => {
      const now = told
      told = undefined
      if (now) deps.tell([...now.opened.values()], [...now.closed])
    })
    return told
  }

  function count(worker: number, tunnel: Standing, change: 1 | -1): void {
    const key = keyOf(tunnel)
    const there = holders.get(key) ?? new Map<number, number>()
    const left = (there.get(worker) ?? 0) + change
    if (left > 0) there.set(worker, left)
    else there.delete(worker)
    if (there.size > 0) holders.set(key, there)
    else holders.delete(key)
  }
  function closedThere(worker: number, tunnel: Standing): void {
    count(worker, tunnel, -1)
    if (tunnel.kind === 'agent') handlers?.onAgentGone(tunnel.agentId, tunnel.service)
  }
  const countOf = (key: string): number =>
    [...(holders.get(key)?.values() ?? [])].reduce((a, b) => a + b, 0)

  function sessionOver(socket: Socket, side: 'client' | 'server', over: () => void): SiblingLink {
    const onLeaving = new Set<() => void>()
    const way = { session: undefined as unknown as Session, onLeaving, suspect: false }
    let grace: Timer | undefined
    const session = createSession(socketTransport(socket, clock), {
      side,
      clock,
      budget,
      onOpen(stream, payload) {
        if (side === 'server' && handlers) return handlers.onOpen(stream, payload)
        stream.refuse('ERR_TUNNEL_PROTOCOL')
      },
      onSuspect(suspect) {
        way.suspect = suspect
        grace?.cancel()
        // As with any tunnel: a process that stands still would else hold every stream that passes through it until the first process
        // ends it, and the other end of each waits for bytes that do not come.
        if (suspect)
          grace = hopeFor(session, clock, () => {
            if (session.streams > 0)
              session.close(new AppError('ERR_TUNNEL_CLOSED', 'the other process went silent'))
          })
      },
      onClose() {
        grace?.cancel()
        sessions.delete(session)
        over()
      },
      onCallbackError: (e) => log.error('proxy.sibling_callback', { reason: reasonOf(e) }),
    })
    sessions.add(session)
    way.session = session
    return way
  }

  async function dial(path: string, over: () => void): Promise<SiblingLink> {
    const socket = connect(path)
    try {
      await within(clock, LIMITS.peerDial.value, once(socket, 'connect'))
    } catch (e) {
      socket.destroy()
      throw e
    }
    return sessionOver(socket, 'client', over)
  }

  function linkTo(worker: number, sibling: Sibling): Promise<SiblingLink> {
    if (sibling.link) return sibling.link
    const link = dial(sibling.path, () => {
      if (sibling.link === link) sibling.link = undefined
    })
    sibling.link = link
    link.catch((e: unknown) => {
      sibling.link = undefined
      log.warn('proxy.sibling_unreachable', { worker, reason: reasonOf(e) })
    })
    return link
  }

  const server = createServer((socket) => void sessionOver(socket, 'server', () => undefined))

  return {
    attach: (given) => (handlers = given),
    opened(tunnel) {
      const standing = standingOf(tunnel)
      if (standing) changes().opened.set(standing.connId, standing)
    },
    closed(tunnel) {
      // In the same turn: nobody has heard of it, and nobody need.
      if (tunnel.kind === 'peer' || changes().opened.delete(tunnel.connId)) return
      changes().closed.add(tunnel.connId)
    },
    countOfAgent: (agentId, service) => countOf(agentKey(agentId, service)),
    countOfUser: (user) => countOf(userKey(user)),
    async *reach(agentIds, service, signal) {
      const keys = agentIds.map((id) => agentKey(id, service))
      const workers = new Set(keys.flatMap((key) => [...(holders.get(key)?.keys() ?? [])]))
      for (const worker of shuffled([...workers], random)) {
        const sibling = siblings.get(worker)
        if (signal.aborted || !sibling) continue
        const link = await linkTo(worker, sibling).catch(() => undefined)
        if (link && !link.session.closed) yield link
      }
    },
    take({ worker, path, opened, closed }) {
      const known = siblings.get(worker)
      if (path === undefined) {
        siblings.delete(worker)
        for (const tunnel of known?.tunnels.values() ?? []) closedThere(worker, tunnel)
        return
      }
      const sibling = known ?? { path, tunnels: new Map<ConnId, Standing>(), link: undefined }
      siblings.set(worker, sibling)
      for (const tunnel of opened) {
        sibling.tunnels.set(tunnel.connId, tunnel)
        count(worker, tunnel, 1)
        if (tunnel.kind === 'agent') handlers?.onAgent(tunnel.agentId, tunnel.service)
      }
      for (const connId of closed) {
        const tunnel = sibling.tunnels.get(connId)
        if (sibling.tunnels.delete(connId) && tunnel) closedThere(worker, tunnel)
      }
    },
    async listen(path) {
      // Not shared with the others, as a worker's listeners otherwise are.
      server.listen({ path, exclusive: true })
      await once(server, 'listening').catch((cause: unknown) => {
        throw new AppError('ERR_ADDRESS_UNUSABLE', `cannot listen on ${path}`, { cause })
      })
    },
    close() {
      server.close()
      for (const session of [...sessions]) session.close()
    },
  }
}
