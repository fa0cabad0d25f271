/**
 * Locks on tokens, told to those who only know agents: proxies and agents. The list of agents is read only while such a lock is in
 * force. An agent that joined in the very second of the lock may be missing from it; the control plane, which knows each agent's
 * token, refuses its calls all the same.
 */
import type { Lock } from '../../core/domain/lock.ts'
import type { AgentId } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'
import type { AgentStore } from '../store/agent-store.ts'

async function agentsByToken(agents: Pick<AgentStore, 'list'>): Promise<Map<string, AgentId[]>> {
  const found = new Map<string, AgentId[]>()
  let cursor: string | undefined
  do {
    const page = await agents.list({ limit: LIMITS.pageSize.value, cursor })
    for (const { id, tokenName } of page.items)
      found.set(tokenName, [...(found.get(tokenName) ?? []), id])
    cursor = page.cursor
  } while (cursor !== undefined)
  return found
}

export async function namedAgents(
  agents: Pick<AgentStore, 'list'>,
  locks: readonly Lock[],
): Promise<Lock[]> {
  if (!locks.some((lock) => lock.target.kind === 'token')) return [...locks]
  const byToken = await agentsByToken(agents)
  return locks.map((lock) =>
    lock.target.kind === 'token'
      ? { ...lock, target: { ...lock.target, agents: byToken.get(lock.target.token) ?? [] } }
      : lock,
  )
}
