/**
 * The single table: first the map of what lies where, then one builder for every key, and nothing else. docs/data-model.md is
 * generated from the map; the deployed table and its IAM rules come from the same lines, so that they cannot drift.
 *
 * Rules: parts of a key are escaped, never stripped. `entity` and `v` are on every item. `ttl` (epoch seconds) is for tidying
 * only: what grants access compares with the clock. Within one index partition `gsi1sk` is unique.
 */
import { seconds, type Instant } from '../../core/clock.ts'
import type { CaKind } from '../../core/domain/ca.ts'
import type { LockTarget } from '../../core/domain/lock.ts'
import type { IdentityKind, ResourceKind, ServiceKind } from '../../core/domain/service.ts'
import type { AgentId, EventId, KeyId, LockId, ProxyId, Thumbprint } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'

interface Row {
  readonly pk: string
  readonly sk: string
  /** Which list it appears in, ordered by what. */
  readonly gsi1: string
  readonly ttl: string
  /** What always holds, and what keeps it so. */
  readonly invariant: string
}

/* prettier-ignore */
export const ENTITIES = {
  cluster:     { pk: 'CLUSTER', sk: 'CLUSTER', gsi1: '', ttl: '', invariant: 'One row, put if absent at the first start; never written again.' },
  ca:          { pk: 'CA', sk: '<kind>', gsi1: '', ttl: '', invariant: 'Moves by compare and set; every change bumps the policy version in the same transaction. Public halves only.' },
  jwtKey:      { pk: 'JWTKEY', sk: 'KEY', gsi1: '', ttl: '', invariant: 'Put if absent: of racing first uses one key stays. The public half only.' },
  dbClientCa:  { pk: 'DBCLIENTCA', sk: 'KEY', gsi1: '', ttl: '', invariant: 'Put if absent: of racing first uses one key stays. The certificate only.' },
  token:       { pk: 'TOKEN#<name>', sk: 'TOKEN', gsi1: 'LIST#token#<shard> by name', ttl: 'a week after it expires', invariant: 'Uses are counted under the condition: there, this very one, not expired, uses left.' },
  secret:      { pk: 'SECRET#<sha256 of secret>', sk: 'SECRET', gsi1: '', ttl: 'with its token', invariant: 'Points to a token; counts only while that token names this hash. The secret itself is nowhere.' },
  use:         { pk: 'USE#<token>#<created>#<enrolment>', sk: 'USE', gsi1: '', ttl: 'with its token', invariant: 'Put if absent in the join: one use for one agent, whatever is repeated.' },
  bound:       { pk: 'BOUND#<token>#<created>', sk: 'KEY', gsi1: '', ttl: 'with its token', invariant: 'One keypair for one token: put in a join, if absent or the same. Locked for good when a copy was noticed.' },
  boundJoin:   { pk: 'BOUND#<token>#<created>', sk: 'SVC#<service>', gsi1: '', ttl: 'with its token', invariant: 'The sequence of joins moves by compare and set, in the join only.' },
  agent:       { pk: 'AGENT#<agent>', sk: 'AGENT', gsi1: 'LIST#agent#<shard> by id', ttl: '', invariant: 'Put if absent; the id is made by the server.' },
  identity:    { pk: 'AGENT#<agent>', sk: 'SVC#<service>', gsi1: '', ttl: '', invariant: 'Generation moves by compare and set only.' },
  departed:    { pk: 'AGENT#<agent>', sk: 'LEFT#<service>', gsi1: '', ttl: 'a day after its last certificate', invariant: 'Written in the transaction that removes the identity; the next one of this service begins after it.' },
  departure:   { pk: 'DEPARTURE', sk: '<time>#<agent>#<service>', gsi1: '', ttl: 'a day after its last certificate', invariant: 'The same, in order of time, for proxies: written with it, and the count of them beside the policy version moves.' },
  resource:    { pk: 'AGENT#<agent>', sk: 'RES#<service>#<kind>#<name>', gsi1: 'LIST#<kind>#<shard> by name, agent', ttl: '', invariant: 'Written in the same transaction as the claim of its name.' },
  announced:   { pk: 'AGENT#<agent>', sk: 'ANN#<service>', gsi1: '', ttl: '', invariant: 'Digest of the last complete announcement; written after all of its resources.' },
  key:         { pk: 'KEY#<thumbprint>', sk: 'KEY', gsi1: '', ttl: 'a week after its last certificate; never for enrolment keys', invariant: 'Put if absent or its own: a public key belongs to one agent and one purpose.' },
  name:        { pk: 'NAME#<kind>#<name>', sk: 'NAME', gsi1: '', ttl: '', invariant: 'Put if absent or its own: one holder, or a set of holders that all allow sharing.' },
  tunnel:      { pk: 'TUNNEL#<agent>', sk: 'TUNNEL', gsi1: '', ttl: '', invariant: 'One attribute for each service and proxy, removed only while it names the same boot and connection.' },
  lease:       { pk: 'LEASE', sk: '<proxy>', gsi1: '', ttl: 'a day after it expires', invariant: 'One row for each proxy, written by that proxy. A shared partition: as many rows as proxies, a write each in 5 s.' },
  role:        { pk: 'ROLE#<shard>', sk: '<name>', gsi1: '', ttl: '', invariant: 'Every change bumps the policy version in the same transaction.' },
  user:        { pk: 'USER#<shard>', sk: '<name>', gsi1: '', ttl: '', invariant: 'Every change bumps the policy version in the same transaction.' },
  password:    { pk: 'PASSWORD#<user>', sk: 'PASSWORD', gsi1: '', ttl: '', invariant: 'A hash. Its user exists when it is written.' },
  lock:        { pk: 'LOCK#<shard>', sk: '<lock>', gsi1: '', ttl: 'a day after it expires', invariant: 'Every change bumps the policy version in the same transaction.' },
  locked:      { pk: 'LOCKED#<kind>#<target>', sk: '<lock>', gsi1: '', ttl: 'a day after it expires', invariant: 'The same lock, found by whom it strikes; written and removed together with it.' },
  version:     { pk: 'POLICY#version', sk: 'POLICY', gsi1: '', ttl: '', invariant: 'Only ever counts up.' },
  signed:      { pk: 'POLICY#signed', sk: 'POLICY', gsi1: '', ttl: '', invariant: 'Points to the newest document; replaced only by a higher version.' },
  signedPart:  { pk: 'POLICYDOC#<version>#<digest>', sk: '<part>', gsi1: '', ttl: 'a day after it was replaced', invariant: 'Written completely before anything points to it.' },
  signedCas:   { pk: 'POLICY#cas', sk: 'POLICY', gsi1: '', ttl: '', invariant: 'What the policy key signed of the CAs; never replaced by an older one.' },
  freshness:   { pk: 'POLICY#freshness', sk: 'POLICY', gsi1: '', ttl: '', invariant: 'Replaced only by a newer stamp.' },
  apiKey:      { pk: 'APIKEY#<sha256 of secret>', sk: 'APIKEY', gsi1: 'LIST#apikey#<shard> by id', ttl: 'a day after it expires', invariant: 'Put if absent together with its id. The secret itself is nowhere.' },
  apiKeyId:    { pk: 'KEYID#<id>', sk: 'KEYID', gsi1: '', ttl: 'with its key', invariant: 'Points to the hash; written and removed together with the key.' },
  connector:   { pk: 'CONNECTOR#<name>', sk: 'CONNECTOR', gsi1: 'LIST#oidc_connector#<shard> by name', ttl: '', invariant: 'Written and removed together with its row by issuer.' },
  connectorIssuer: { pk: 'ISSUER#<issuer>', sk: '<name>', gsi1: '', ttl: '', invariant: 'The same connector, found by whose id tokens it trusts.' },
  event:       { pk: 'EVENT#<day>#<shard>', sk: '<event>', gsi1: '', ttl: 'retention', invariant: 'Append only; ids sort by time.' },
  eventDay:    { pk: 'EVENTDAY#<year>', sk: '<day>', gsi1: '', ttl: 'retention', invariant: 'There before the first event of its day.' },
  idempotency: { pk: 'IDEM#<principal>#<key>', sk: 'IDEM', gsi1: '', ttl: 'a day', invariant: 'Put if absent, or in place of an expired or abandoned one.' },
  once:        { pk: 'ONCE#<scope>#<id>', sk: 'ONCE', gsi1: '', ttl: 'when it expires', invariant: 'Put if absent, or in place of an expired one: spent once.' },
} as const satisfies Record<string, Row>
export type Entity = keyof typeof ENTITIES

export const INDEX = 'gsi1'
/** The table as CreateTable takes it; infra deploys the same keys and index. */
export const TABLE_DEFINITION = {
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [
    { AttributeName: 'pk', AttributeType: 'S' },
    { AttributeName: 'sk', AttributeType: 'S' },
    { AttributeName: 'gsi1pk', AttributeType: 'S' },
    { AttributeName: 'gsi1sk', AttributeType: 'S' },
  ],
  KeySchema: [
    { AttributeName: 'pk', KeyType: 'HASH' },
    { AttributeName: 'sk', KeyType: 'RANGE' },
  ],
  GlobalSecondaryIndexes: [
    {
      IndexName: INDEX,
      KeySchema: [
        { AttributeName: 'gsi1pk', KeyType: 'HASH' },
        { AttributeName: 'gsi1sk', KeyType: 'RANGE' },
      ],
      Projection: { ProjectionType: 'ALL' },
    },
  ],
} as const
export const TTL_ATTRIBUTE = 'ttl'

export interface Key {
  readonly pk: string
  readonly sk: string
}
export interface IndexKey {
  readonly gsi1pk: string
  readonly gsi1sk: string
}

const escape = (part: string): string => part.replaceAll('%', '%25').replaceAll('#', '%23')
const unescape = (part: string): string => part.replaceAll('%23', '#').replaceAll('%25', '%')
export const joinKey = (...parts: readonly string[]): string => parts.map(escape).join('#')
export const splitKey = (key: string): string[] => key.split('#').map(unescape)

/** FNV-1a over the UTF-16 units: spreads names over the shards of a list, the same for ever. */
export function shardOf(name: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < name.length; i++)
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) >>> 0
  return hash % LIMITS.listShards.value
}
export const SHARDS: readonly number[] = Array.from(
  { length: LIMITS.listShards.value },
  (_, shard) => shard,
)

const own = (pk: string, sk: string): Key => ({ pk, sk })
/** `2026-11-23`, in UTC. */
export const dayOf = (at: Instant): string => new Date(at).toISOString().slice(0, 10)

export const keys = {
  cluster: () => own('CLUSTER', 'CLUSTER'),
  ca: (kind: CaKind) => own('CA', kind),
  jwtKey: () => own('JWTKEY', 'KEY'),
  dbClientCa: () => own('DBCLIENTCA', 'KEY'),
  token: (name: string) => own(joinKey('TOKEN', name), 'TOKEN'),
  secret: (hash: string) => own(joinKey('SECRET', hash), 'SECRET'),
  /** `created` tells a token from an earlier one of the same name. */
  use: (token: string, created: Instant, enrolment: Thumbprint) =>
    own(joinKey('USE', token, String(seconds(created)), enrolment), 'USE'),
  bound: (token: string, created: Instant) =>
    own(joinKey('BOUND', token, String(seconds(created))), 'KEY'),
  boundJoin: (token: string, created: Instant, service: IdentityKind) =>
    own(joinKey('BOUND', token, String(seconds(created))), joinKey('SVC', service)),
  agent: (id: AgentId) => own(joinKey('AGENT', id), 'AGENT'),
  identity: (id: AgentId, service: IdentityKind) =>
    own(joinKey('AGENT', id), joinKey('SVC', service)),
  departed: (id: AgentId, service: IdentityKind) =>
    own(joinKey('AGENT', id), joinKey('LEFT', service)),
  departure: (at: Instant, id: AgentId, service: ServiceKind) =>
    own('DEPARTURE', joinKey(departureTime(at), id, service)),
  resource: (id: AgentId, service: ServiceKind, kind: ResourceKind, name: string) =>
    own(joinKey('AGENT', id), joinKey('RES', service, kind, name)),
  announced: (id: AgentId, service: ServiceKind) =>
    own(joinKey('AGENT', id), joinKey('ANN', service)),
  key: (thumbprint: Thumbprint) => own(joinKey('KEY', thumbprint), 'KEY'),
  name: (kind: ResourceKind, name: string) => own(joinKey('NAME', kind, name), 'NAME'),
  tunnel: (id: AgentId) => own(joinKey('TUNNEL', id), 'TUNNEL'),
  lease: (id: ProxyId) => own('LEASE', id),
  role: (name: string) => own(joinKey('ROLE', String(shardOf(name))), name),
  user: (name: string) => own(joinKey('USER', String(shardOf(name))), name),
  password: (user: string) => own(joinKey('PASSWORD', user), 'PASSWORD'),
  lock: (id: LockId) => own(joinKey('LOCK', String(shardOf(id))), id),
  locked: (target: LockTarget, id: LockId) => own(lockedPartition(target), id),
  version: () => own('POLICY#version', 'POLICY'),
  signed: () => own('POLICY#signed', 'POLICY'),
  signedPart: (version: number, digest: string, part: number) =>
    own(joinKey('POLICYDOC', String(version), digest), String(part).padStart(4, '0')),
  signedCas: () => own('POLICY#cas', 'POLICY'),
  freshness: () => own('POLICY#freshness', 'POLICY'),
  apiKey: (hash: string) => own(joinKey('APIKEY', hash), 'APIKEY'),
  apiKeyId: (id: KeyId) => own(joinKey('KEYID', id), 'KEYID'),
  connector: (name: string) => own(joinKey('CONNECTOR', name), 'CONNECTOR'),
  connectorIssuer: (issuer: string, name: string) => own(issuerPartition(issuer), name),
  event: (day: string, id: EventId) => own(eventPartition(day, shardOf(id)), id),
  eventDay: (day: string) => own(joinKey('EVENTDAY', day.slice(0, 4)), day),
  idempotency: (principal: string, key: string) => own(joinKey('IDEM', principal, key), 'IDEM'),
  once: (scope: string, id: string) => own(joinKey('ONCE', scope, id), 'ONCE'),
} as const satisfies Record<Entity, (...parts: never[]) => Key>

/** Seconds in the order of text. */
export const departureTime = (at: Instant): string =>
  String(Math.max(0, seconds(at))).padStart(12, '0')

export function lockedPartition(target: LockTarget): string {
  switch (target.kind) {
    case 'user':
      return joinKey('LOCKED', 'user', target.user)
    case 'agent':
      return joinKey('LOCKED', 'agent', target.agent)
    case 'role':
      return joinKey('LOCKED', 'role', target.role)
    case 'service':
      return joinKey('LOCKED', 'service', target.agent, target.service)
    case 'token':
      return joinKey('LOCKED', 'token', target.token)
  }
}
export const issuerPartition = (issuer: string): string => joinKey('ISSUER', issuer)
export const eventPartition = (day: string, shard: number): string =>
  joinKey('EVENT', day, String(shard))
/** Partition of the sharded base-table lists that the policy is made of. */
export const listPartition = (list: 'ROLE' | 'USER' | 'LOCK', shard: number): string =>
  joinKey(list, String(shard))

export type ListName = 'token' | 'agent' | 'apikey' | 'oidc_connector' | ResourceKind
export const indexPartition = (list: ListName, shard: number): string =>
  joinKey('LIST', list, String(shard))
/** The index keys of an item: its list, its shard, its place. */
export const indexed = (list: ListName, ...place: readonly string[]): IndexKey => ({
  gsi1pk: indexPartition(list, shardOf(place[0] ?? '')),
  gsi1sk: joinKey(...place),
})
