/** What the control plane does around a bound keypair: hands out the next join state, and locks a key that was copied. */
import type { Instant } from '../../core/clock.ts'
import type { IdentityKind } from '../../core/domain/service.ts'
import type { JoinToken } from '../../core/domain/token.ts'
import { newId, type AgentId } from '../../core/ids.ts'
import { sealState } from '../../core/join/bound-keypair-state.ts'
import type { JoinFacts } from '../../core/join/join-method.ts'
import type { JoinDeps } from '../deps.ts'

/** A copied keypair: nobody joins with it again, and the agent that it made is locked. */
export async function lockCopied(
  deps: JoinDeps,
  token: JoinToken,
  agent: AgentId,
  now: Instant,
): Promise<void> {
  await deps.stores.boundKeypairs.lock(token)
  const lock = newId('lock', now, deps.random)
  await deps.stores.locks.create({
    id: lock,
    target: { kind: 'agent', agent },
    message: 'its keypair was copied: an old join state was shown',
    created: now,
    createdBy: 'postern',
    expires: undefined,
  })
  await deps.stores.events.append({
    type: 'lock.create',
    outcome: 'ok',
    actor: 'postern',
    resource: `agent/${agent}`,
    session: undefined,
    reason: 'copied keypair',
    fields: { lock, token: token.name },
  })
}

/** The document for the next join with the same keypair, as the table has it after the commit. */
export async function joinState(
  { stores, challengeSealer }: JoinDeps,
  token: JoinToken,
  facts: JoinFacts,
  service: IdentityKind,
): Promise<string | undefined> {
  if (!facts.bound) return undefined
  const bound = await stores.boundKeypairs.get(token)
  const state = bound?.services[service]
  if (!state) return undefined
  return sealState(challengeSealer, token, {
    service,
    key: facts.bound.key,
    sequence: state.sequence,
  })
}
