/** Agents in the table. See agent-store.ts for what each method promises. */
import { plus, type Instant } from '../../../core/clock.ts'
import type { Agent, ServiceIdentity } from '../../../core/domain/agent.ts'
import type { Departure } from '../../../core/domain/departure.ts'
import { lockTargetsOf } from '../../../core/domain/lock.ts'
import type { ServiceKind } from '../../../core/domain/service.ts'
import { AppError } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'
import type { AgentStore, Renewal, RenewalOutcome } from '../agent-store.ts'
import type { LockStore } from '../lock-store.ts'
import { keys } from '../table.ts'
import {
  agentFromItem,
  claimKey,
  claimName,
  holdersFromItem,
  identityFromItem,
  identityItem,
  identityUnchanged,
} from './agent-items.ts'
import { announce, removeAgent } from './announce.ts'
import { departureWrites } from './departures.ts'
import type { StagedEvents } from './events.ts'
import { listPage, type ListDeps } from './list.ts'

type AgentDeps = ListDeps & {
  readonly locks: Pick<LockStore, 'onAny'>
  readonly events: Pick<StagedEvents, 'staged'>
}

/** Protocols.md 2: what the stored identity says about a renewal. */
function judge(stored: ServiceIdentity, r: Renewal): 'next' | 'again' | 'copied' {
  if (stored.generation === r.generation && stored.current === r.current) return 'next'
  const lost =
    stored.generation === r.generation + 1 &&
    stored.previous === r.current &&
    stored.current === r.next
  if (lost) return 'again'
  // The row is from a backup, the certificate from after it: the certificate is right, and this once it is believed. The renewal
  // takes the mark away, so that of two copies the second one is found as always.
  const { restored } = stored
  const unknown = restored !== undefined && r.issued >= stored.issued && r.issued <= restored
  return unknown ? 'next' : 'copied'
}

async function renew(deps: AgentDeps, r: Renewal): Promise<RenewalOutcome> {
  const { table, locks } = deps
  const strikes = lockTargetsOf({ id: r.agentId, service: r.service, token: r.token })
  if ((await locks.onAny(strikes, r.now)).length > 0) return { kind: 'locked' }
  const item = await table.get(keys.identity(r.agentId, r.service))
  if (!item) return { kind: 'unknown' }
  const stored = identityFromItem(item)
  const verdict = judge(stored, r)
  if (verdict !== 'next') return { kind: verdict, identity: stored }
  const next: ServiceIdentity = {
    agentId: r.agentId,
    service: r.service,
    generation: r.generation + 1,
    current: r.next,
    previous: r.current,
    // Never before the one it follows, whosever clock is behind: a departure is told apart by it.
    issued: r.now > stored.issued ? r.now : stored.issued,
    expires: r.certificateExpires,
    ca: r.ca,
  }
  const key = claimKey(r.next, r.agentId, r.service, {
    now: r.now,
    expires: r.certificateExpires,
  })
  const failed = await table.transact([
    { put: identityItem(next), when: identityUnchanged(stored) },
    key,
    ...(r.event ? [await deps.events.staged(r.event)] : []),
  ])
  if (!failed) return { kind: 'renewed', identity: identityFromItem(identityItem(next)) }
  const [raced] = failed
  if (!raced?.failed) return { kind: 'key enrolled' }
  // Another renewal came first: with the same two keys it was ours, sent twice.
  if (!raced.old) return { kind: 'unknown' }
  const winner = identityFromItem(raced.old)
  return { kind: judge(winner, r) === 'again' ? 'again' : 'copied', identity: winner }
}

/** Void is what was issued up to now, by the clocks of all who issued it. */
const departureOf = (
  { id }: Agent,
  service: ServiceKind,
  { issued }: ServiceIdentity,
  now: Instant,
): Departure => ({
  agentId: id,
  service,
  until: issued > now ? issued : now,
  expires: plus(now, LIMITS.agentCertTtl.value),
})

/** Tries before a removal gives up on an identity that keeps being renewed under it. */
const TRIES = 4

export function createAgentStore(deps: AgentDeps): AgentStore {
  const { table } = deps
  const partition = (id: Parameters<AgentStore['get']>[0]) => keys.agent(id).pk

  return {
    async get(id) {
      const item = await table.get(keys.agent(id))
      return item && agentFromItem(item)
    },
    async identities(id) {
      const items = await table.queryAll({ partition: partition(id), prefix: 'SVC#' })
      return items.map(identityFromItem)
    },
    list: (page) =>
      listPage(deps, { list: 'agent', page, decode: agentFromItem, keep: () => true }),
    async holders(kind, name) {
      const item = await table.get(keys.name(kind, name))
      return item ? holdersFromItem(item) : []
    },
    renew: (renewal) => renew(deps, renewal),
    announce: (id, service, resources) => announce(table, id, service, resources),
    async removeService(agent, service, now) {
      const { id, nodeName } = agent
      await announce(table, id, service, [])
      // Announcing a node holds the agent's name; the agent keeps it, whatever it still runs.
      await table.transact([claimName({ kind: 'node', name: nodeName }, id, false)])
      for (let attempt = 0; attempt < TRIES; attempt++) {
        const item = await table.get(keys.identity(id, service))
        if (!item) return false
        const identity = identityFromItem(item)
        const failed = await table.transact([
          { remove: keys.identity(id, service), when: identityUnchanged(identity) },
          ...departureWrites(departureOf(agent, service, identity, now), now),
        ])
        if (!failed) return true
      }
      throw new AppError('ERR_TIMEOUT', 'The service renews and leaves at once')
    },
    async remove(id) {
      const items = await table.queryAll({ partition: partition(id) })
      const agentItem = items.find((item) => item['entity'] === 'agent')
      if (!agentItem) return false
      await removeAgent(table, agentFromItem(agentItem), items)
      return true
    },
  }
}
