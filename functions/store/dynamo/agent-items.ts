/** Items of agents: the agent, its service identities, and the keys and names that are theirs alone. */
import * as z from 'zod'
import { seconds, type Instant } from '../../../core/clock.ts'
import type { Agent, ServiceIdentity } from '../../../core/domain/agent.ts'
import { IDENTITY_KINDS, type IdentityKind } from '../../../core/domain/service.ts'
import type { AgentId, Thumbprint } from '../../../core/ids.ts'
import type { NameClaim } from '../join-store.ts'
import { indexed, keys } from '../table.ts'
import { codec, idOf, stringMap, time } from './codec.ts'
import type { Plain } from './marshal.ts'
import type { Expression, Write } from './table-client.ts'

const agents = codec(
  'agent',
  z.object({
    id: idOf<AgentId>(),
    nodeName: z.string(),
    enrolment: idOf<Thumbprint>(),
    tokenName: z.string(),
    forcedLabels: stringMap,
    suggestedLabels: stringMap.default({}),
    allowedNames: z.array(z.string()).optional(),
    sharedNames: z.boolean(),
    created: time,
  }),
  (b): Agent => ({ ...b, allowedNames: b.allowedNames }),
)
export const agentFromItem = (item: Plain): Agent => agents.fromItem(item)
export const agentItem = (agent: Agent): Plain =>
  agents.item(
    { ...keys.agent(agent.id), ...indexed('agent', agent.id) },
    { ...agent, created: seconds(agent.created) },
  )

const identities = codec(
  'identity',
  z.object({
    agentId: idOf<AgentId>(),
    service: z.enum(IDENTITY_KINDS),
    generation: z.int(),
    current: idOf<Thumbprint>(),
    previous: idOf<Thumbprint>(),
    issued: time,
    expires: time,
    ca: z.string().optional(),
    restored: time.optional(),
  }),
  (b): ServiceIdentity => ({ ...b, ca: b.ca }),
)
export const identityFromItem = (item: Plain): ServiceIdentity => identities.fromItem(item)
export const identityItem = (identity: ServiceIdentity): Plain =>
  identities.item(keys.identity(identity.agentId, identity.service), {
    ...identity,
    issued: seconds(identity.issued),
    expires: seconds(identity.expires),
    ...(identity.restored === undefined ? {} : { restored: seconds(identity.restored) }),
  })

/** Compare-and-set of an identity: it is still the one that was read. */
export const identityUnchanged = (identity: ServiceIdentity): Expression => ({
  text: '#generation = :g AND #current = :c',
  names: { '#generation': 'generation', '#current': 'current' },
  values: { ':g': identity.generation, ':c': identity.current },
})

const keyRows = codec(
  'key',
  z.object({ agentId: idOf<AgentId>(), purpose: z.string() }),
  (b): { agentId: AgentId; purpose: string } => b,
)
export const keyFromItem = (item: Plain) => keyRows.fromItem(item)

const WEEK = 7 * 24 * 3600
/** What a key is for: enrolling the agent, or one of its services. */
export type KeyPurpose = 'enrolment' | IdentityKind

/** Takes a public key for one purpose of one agent: put if absent, or its own, or long expired. */
export function claimKey(
  thumbprint: Thumbprint,
  agentId: AgentId,
  purpose: KeyPurpose,
  times: { readonly now: Instant; readonly expires: Instant | undefined },
): Write {
  const ttl = times.expires === undefined ? undefined : seconds(times.expires) + WEEK
  return {
    put: keyRows.item({ ...keys.key(thumbprint), ttl }, { agentId, purpose }),
    when: {
      text: 'attribute_not_exists(pk) OR (#agentId = :agent AND #purpose = :purpose) OR #ttl < :now',
      names: { '#agentId': 'agentId', '#purpose': 'purpose', '#ttl': 'ttl' },
      values: { ':agent': agentId, ':purpose': purpose, ':now': seconds(times.now) },
    },
  }
}

const names = codec(
  'name',
  z.object({ agentId: idOf<AgentId>().optional(), holders: z.set(z.string()).optional() }),
  (b): AgentId[] =>
    b.agentId === undefined ? ([...(b.holders ?? [])] as AgentId[]).sort() : [b.agentId],
)
export const holdersFromItem = (item: Plain): AgentId[] => names.fromItem(item)

/** Names of nodes are exclusive whatever the token says: a host certificate speaks for one machine. */
const isShared = (claim: NameClaim, sharedNames: boolean): boolean =>
  sharedNames && claim.kind !== 'node'

const NAMES = { '#agentId': 'agentId', '#holders': 'holders' } as const

/** Takes a name: put if absent, or held by this agent, or (shared) held only by agents that share. */
export function claimName(claim: NameClaim, agentId: AgentId, sharedNames: boolean): Write {
  const key = keys.name(claim.kind, claim.name)
  if (isShared(claim, sharedNames))
    return {
      key,
      update: {
        text: 'ADD #holders :me SET #entity = :entity, v = :v',
        names: { '#holders': 'holders', '#entity': 'entity' },
        values: { ':me': new Set([agentId]), ':entity': 'name', ':v': 1 },
      },
      when: { text: 'attribute_not_exists(#agentId)', names: { '#agentId': 'agentId' } },
    }
  return {
    put: names.item(key, { agentId }),
    when: {
      text: 'attribute_not_exists(pk) OR #agentId = :me OR (attribute_not_exists(#agentId) AND attribute_not_exists(#holders))',
      names: NAMES,
      values: { ':me': agentId },
    },
  }
}

/** Gives a name back. A shared one loses this holder; the empty row that may remain is free for anybody. */
export function releaseName(claim: NameClaim, agentId: AgentId, sharedNames: boolean): Write {
  const key = keys.name(claim.kind, claim.name)
  if (isShared(claim, sharedNames))
    return {
      key,
      update: {
        text: 'DELETE #holders :me SET #entity = :entity, v = :v',
        names: { '#holders': 'holders', '#entity': 'entity' },
        values: { ':me': new Set([agentId]), ':entity': 'name', ':v': 1 },
      },
    }
  return {
    remove: key,
    when: {
      text: 'attribute_not_exists(pk) OR #agentId = :me',
      names: { '#agentId': 'agentId' },
      values: { ':me': agentId },
    },
  }
}
