/** Replacing what a service announces, and taking an agent away with all that is its own. */
import { createHash } from 'node:crypto'
import type { Agent } from '../../../core/domain/agent.ts'
import type { Resource } from '../../../core/domain/resource.ts'
import type { ServiceKind } from '../../../core/domain/service.ts'
import { AppError } from '../../../core/errors.ts'
import type { AgentId, Thumbprint } from '../../../core/ids.ts'
import type { AnnounceOutcome } from '../agent-store.ts'
import type { NameClaim } from '../join-store.ts'
import { joinKey, keys } from '../table.ts'
import { agentFromItem, claimName, identityFromItem, releaseName } from './agent-items.ts'
import { announcedFromItem, announcedWrite } from './announced-items.ts'
import { sortKey, textOf, type Plain } from './marshal.ts'
import { resourceFromItem, resourceItem } from './resource-items.ts'
import { present, type TableClient, type Write } from './table-client.ts'

/** Writes of one transaction: DynamoDB takes 100, one of them is our check that the agent is there. */
const TRANSACTION = 99
const TRIES = 5

const claimId = (claim: NameClaim): string => joinKey(claim.kind, claim.name)
const byId = <T extends NameClaim>(claims: readonly T[]): Map<string, T> =>
  new Map(claims.map((claim) => [claimId(claim), claim]))
/** The same text for the same resource, whatever the order of its labels. */
const canonical = (r: Resource): string =>
  JSON.stringify([
    r.kind,
    r.name,
    Object.entries(r.labels).sort(([a], [b]) => (a < b ? -1 : 1)),
    r.protocol ?? null,
    r.hostname ?? null,
  ])
const digestOf = (resources: readonly Resource[]): string =>
  createHash('sha256')
    .update(JSON.stringify(resources.map(canonical).sort()))
    .digest('base64url')

interface Phases {
  /** In the order of `taken`. */
  readonly claims: readonly Write[]
  readonly changes: readonly Write[]
  readonly closing: readonly Write[]
}

/** One transaction where it fits; otherwise claims, then changes, then releases and the mark that it is complete. */
function batches({ claims, changes, closing }: Phases): Write[][] {
  const all = [...claims, ...changes, ...closing]
  if (all.length <= TRANSACTION) return [all]
  return [claims, changes, closing].flatMap((phase) => chunks(phase))
}
function chunks(writes: readonly Write[]): Write[][] {
  const out: Write[][] = []
  for (let at = 0; at < writes.length; at += TRANSACTION)
    out.push(writes.slice(at, at + TRANSACTION))
  return out
}

export async function announce(
  table: TableClient,
  id: AgentId,
  service: ServiceKind,
  resources: readonly Resource[],
): Promise<AnnounceOutcome> {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const outcome = await announceOnce(table, id, service, resources)
    if (outcome) return outcome
  }
  throw new AppError('ERR_TIMEOUT', 'The agent announces from several places at once')
}

/** undefined = another announcement of the same service came in between; look again. */
async function announceOnce(
  table: TableClient,
  id: AgentId,
  service: ServiceKind,
  resources: readonly Resource[],
): Promise<AnnounceOutcome | undefined> {
  const digest = digestOf(resources)
  const row = await table.get(keys.announced(id, service))
  const before = row && announcedFromItem(row)
  if (before?.digest === digest) return { kind: 'unchanged' }
  const agentRow = await table.get(keys.agent(id))
  if (!agentRow) return { kind: 'unknown agent' }
  const { sharedNames } = agentFromItem(agentRow)
  const there = byId(
    (
      await table.queryAll({
        partition: keys.agent(id).pk,
        prefix: `${joinKey('RES', service)}#`,
      })
    ).map(resourceFromItem),
  )
  const wanted = byId(resources.map((r) => ({ ...r, agentId: id })))
  const held = byId<NameClaim>([...there.values(), ...(before?.names ?? [])])
  const taken = [...wanted.values()].filter((r) => !held.has(claimId(r)))
  const gone = [...held].filter(([name]) => !wanted.has(name)).map(([, claim]) => claim)
  const changed = [...wanted].filter(([name, r]) => {
    const old = there.get(name)
    return !old || canonical(old) !== canonical(r)
  })
  const plan = batches({
    claims: taken.map((claim) => claimName(claim, id, sharedNames)),
    changes: [
      ...changed.map(([, r]) => ({ put: resourceItem(r, service) })),
      ...[...there.values()]
        .filter((r) => !wanted.has(claimId(r)))
        .map((r) => ({ remove: keys.resource(id, service, r.kind, r.name) })),
    ],
    closing: [
      ...gone.map((claim) => releaseName(claim, id, sharedNames)),
      announcedWrite(id, service, digest, before),
    ],
  })
  const check: Write = { check: keys.agent(id), when: present }
  let done = 0
  for (const writes of plan) {
    const failed = await table.transact([check, ...writes])
    if (!failed) {
      done += writes.length
      continue
    }
    if (failed[0]?.failed) return { kind: 'unknown agent' }
    // Claims come first in the plan, so the position of a failed write says which name it was.
    const name = taken[done + failed.findIndex((f) => f.failed) - 1]
    if (!name) return undefined
    for (const undo of chunks(taken.slice(0, done).map((c) => releaseName(c, id, sharedNames))))
      await table.transact(undo)
    return { kind: 'name taken', name: { kind: name.kind, name: name.name } }
  }
  return { kind: 'replaced' }
}

/** Everything an agent holds, then the agent: one transaction where it fits, repeatable where it does not. */
export async function removeAgent(
  table: TableClient,
  agent: Agent,
  items: readonly Plain[],
): Promise<void> {
  const of = (entity: string) => items.filter((item) => item['entity'] === entity)
  const claims = byId<NameClaim>([
    ...of('resource').map(resourceFromItem),
    ...of('announced').flatMap((item) => announcedFromItem(item).names),
  ])
  const thumbprints = new Set<Thumbprint>([
    agent.enrolment,
    ...of('identity')
      .map(identityFromItem)
      .flatMap((i) => [i.current, i.previous]),
  ])
  const mine = {
    text: 'attribute_not_exists(pk) OR #agentId = :me',
    names: { '#agentId': 'agentId' },
    values: { ':me': agent.id },
  }
  const writes: Write[] = [
    ...[...claims.values()].map((claim) => releaseName(claim, agent.id, agent.sharedNames)),
    ...[...thumbprints].map((thumbprint) => ({ remove: keys.key(thumbprint), when: mine })),
    ...items
      .filter((item) => item['entity'] !== 'agent')
      .map((item) => ({ remove: { pk: textOf(item['pk']), sk: sortKey(item) } })),
    { remove: keys.tunnel(agent.id) },
    { remove: keys.agent(agent.id) },
  ]
  for (const chunk of chunks(writes)) {
    const failed = await table.transact(chunk)
    if (failed)
      throw new AppError('ERR_CONFLICT', 'The agent changed while it was being removed', {
        internal: `remove ${agent.id}: a name or key is not its own`,
      })
  }
}
