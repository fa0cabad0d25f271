/**
 * A join token that a stack declares for machines of its own: method `iam`, no secret, an allow rule for their role. It is made,
 * replaced and removed together with them, by the same reader and store as any other token.
 */
import * as z from 'zod'
import { tokenResource, newToken, TOKEN_SUGGESTIONS } from '../../core/domain/token.ts'
import type { Clock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import { parse } from '../../core/parse.ts'
import type { Stores } from '../store/stores.ts'
import type { Change, Made } from './custom-resource.ts'

export interface JoinRuleDeps {
  readonly clock: Clock
  readonly stores: Pick<Stores, 'tokens' | 'events' | 'cluster'>
  /** Name of the one token that this stack may write. */
  readonly tokenName: string
}

/** `Token`: the resource as JSON text, because CloudFormation turns numbers and booleans into texts. */
const properties = z.object({
  Token: z
    .string()
    .min(2)
    .max(64 * 1024),
})

function tokenOf(given: Readonly<Record<string, unknown>>, deps: JoinRuleDeps) {
  const { Token: text } = parse(properties, given)
  const value = parse(tokenResource, JSON.parse(text) as unknown, { suggest: TOKEN_SUGGESTIONS })
  const token = newToken({ form: 'resource', value }, { name: deps.tokenName, clock: deps.clock })
  if (token.method !== 'iam')
    throw new AppError('ERR_INPUT_INVALID', 'spec.join_method: a stack declares iam tokens only')
  if (token.name !== deps.tokenName)
    throw new AppError('ERR_INPUT_INVALID', `metadata.name: this stack declares ${deps.tokenName}`)
  return token
}

async function remove(deps: JoinRuleDeps, name: string): Promise<void> {
  const token = await deps.stores.tokens.revoke(name)
  if (!token) return
  await note(deps, 'token.revoke', name, {})
}

async function note(
  deps: JoinRuleDeps,
  type: 'token.create' | 'token.revoke',
  name: string,
  fields: Readonly<Record<string, string | readonly string[]>>,
): Promise<void> {
  await deps.stores.events.append({
    type,
    outcome: 'ok',
    actor: 'cloudformation',
    resource: `token/${name}`,
    session: undefined,
    reason: undefined,
    fields,
  })
}

/** For customResource(). Agents that joined by a replaced or removed token keep their identities. */
export function joinRule(deps: JoinRuleDeps): (change: Change) => Promise<Made> {
  return async (change) => {
    if (change.type === 'delete') {
      if (change.id === deps.tokenName) await remove(deps, change.id)
      return { id: change.id }
    }
    // Machines that cannot join yet would only be started and given up again, one after the other, for as long as a deployment waits.
    if (!(await deps.stores.cluster.get())) throw new AppError('ERR_CLUSTER_NEW')
    const token = tokenOf(change.properties, deps)
    await remove(deps, token.name)
    await deps.stores.tokens.create(token, undefined)
    await note(deps, 'token.create', token.name, { roles: token.roles, method: token.method })
    return { id: token.name }
  }
}
