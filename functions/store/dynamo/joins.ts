/**
 * The commit of a join. Three ways through, each ending in one transaction or in none:
 *
 *   new agent      nothing is read first: the transaction itself finds out whether the enrolment key is known
 *   known agent    its rows are read, then the service is added, or replaced when its certificate expired
 *   the same again the rows say that this very key joined: nothing is written
 *
 * Whatever was read is a condition of the transaction that follows; when the world moved in between, it starts over.
 */
import * as z from 'zod'
import { plus, seconds } from '../../../core/clock.ts'
import type { Agent, ServiceIdentity } from '../../../core/domain/agent.ts'
import type { Departure } from '../../../core/domain/departure.ts'
import { joinedValues } from '../../../core/domain/name.ts'
import type { JoinToken } from '../../../core/domain/token.ts'
import { lockTargetsOf } from '../../../core/domain/lock.ts'
import { AppError } from '../../../core/errors.ts'
import type { JoinCommit, JoinOutcome, JoinRefusal, JoinStore } from '../join-store.ts'
import type { LockStore } from '../lock-store.ts'
import { keys } from '../table.ts'
import {
  agentFromItem,
  agentItem,
  claimKey,
  claimName,
  identityFromItem,
  identityItem,
  identityUnchanged,
  keyFromItem,
} from './agent-items.ts'
import { noteClaims } from './announced-items.ts'
import { codec } from './codec.ts'
import { departedFromItem, departedUnchanged } from './departures.ts'
import { proofWrites } from './join-proofs.ts'
import type { Plain } from './marshal.ts'
import { absent, present, type Expression, type TableClient, type Write } from './table-client.ts'
import { tokenFromItem, tokenTtl } from './tokens.ts'

const useRows = codec('use', z.object({}), () => undefined)

/** There, the very one that was read, and not expired. */
const tokenAlive = (token: JoinToken, now: number): Expression => ({
  text: '#created = :created AND #expires > :now',
  names: { '#created': 'created', '#expires': 'expires' },
  values: { ':created': seconds(token.created), ':now': now },
})
const usesLeft = (token: JoinToken, now: number): Expression => {
  const alive = tokenAlive(token, now)
  return {
    text: `${alive.text} AND #uses < #maxUses`,
    names: { ...alive.names, '#uses': 'uses', '#maxUses': 'maxUses' },
    values: { ...alive.values },
  }
}

/** Writes on the token: a use is counted only where there is a number to count against, and once for an agent. */
function tokenWrites(join: JoinCommit, counted: boolean): Write[] {
  const { token, enrolment } = join
  const now = seconds(join.now)
  const key = keys.token(token.name)
  const check: Write = { check: key, when: tokenAlive(token, now) }
  if (counted) return [check]
  const use: Write = {
    put: useRows.item({ ...useKey(join), ttl: tokenTtl(token) }, { token: token.name, enrolment }),
    when: absent,
  }
  if (token.maxUses === undefined) return [check, use]
  return [
    {
      key,
      update: {
        text: 'ADD #uses :one',
        names: { '#uses': 'uses' },
        values: { ':one': 1 },
      },
      when: usesLeft(token, now),
    },
    use,
  ]
}
const useKey = (join: JoinCommit) => keys.use(join.token.name, join.token.created, join.enrolment)

/** Why the token, as it is now, admits nobody; undefined while it lives, however often it was used. */
function deadToken(join: JoinCommit, item: Plain | undefined): 'revoked' | 'expired' | undefined {
  const found = item && tokenFromItem(item)
  if (!found || seconds(found.created) !== seconds(join.token.created)) return 'revoked'
  return found.expires <= join.now ? 'expired' : undefined
}

const firstIdentity = (
  join: JoinCommit,
  agentId: Agent['id'],
  left?: Departure,
): ServiceIdentity => ({
  agentId,
  service: join.service,
  generation: 1,
  current: join.key,
  previous: join.key,
  // Later than whatever the service had before it left, to the second.
  issued: left && seconds(left.until) >= seconds(join.now) ? plus(left.until, 1000) : join.now,
  expires: join.certificateExpires,
  ca: join.ca,
})

/** It has run out, or its CA is trusted no more. */
const isWorthless = ({ expires, ca }: ServiceIdentity, join: JoinCommit): boolean =>
  expires <= join.now || (ca !== undefined && !join.trustedCas.includes(ca))

/** Tries before giving up on a world that keeps moving under us. */
const TRIES = 8

export function createJoinStore(deps: {
  readonly table: TableClient
  readonly locks: Pick<LockStore, 'onAny'>
}): JoinStore {
  const { table, locks } = deps

  /** undefined = the enrolment key is known by now. */
  async function newAgent(join: JoinCommit): Promise<JoinOutcome | undefined> {
    const { token, newAgentId: id } = join
    const agent: Agent = {
      id,
      nodeName: join.nodeName,
      enrolment: join.enrolment,
      tokenName: token.name,
      forcedLabels: token.forcedLabels,
      suggestedLabels: joinedValues(token.suggestedLabels),
      allowedNames: token.allowedNames,
      sharedNames: token.sharedNames,
      created: join.now,
    }
    const enrol: Write = {
      ...claimKey(join.enrolment, id, 'enrolment', { now: join.now, expires: undefined }),
      when: absent,
    }
    const identity = firstIdentity(join, id)
    const agentWrites: Write[] = [
      { put: agentItem(agent), when: absent },
      { put: identityItem(identity), when: absent },
    ]
    const groups = {
      enrol: [enrol],
      token: tokenWrites(join, false),
      proof: proofWrites(join, id),
      key: [claimKey(join.key, id, join.service, { now: join.now, expires: identity.expires })],
      names: join.names.map((name) => claimName(name, id, token.sharedNames)),
      agent: [...agentWrites, ...noteClaims(id, join.names)],
    }
    const failed = await commit(groups)
    if (!failed)
      return {
        kind: 'joined',
        newAgent: true,
        agent: agentFromItem(agentItem(agent)),
        identity: identityFromItem(identityItem(identity)),
      }
    const [known] = failed.enrol
    if (known?.failed) {
      const owner = known.old && keyFromItem(known.old)
      return owner && owner.purpose !== 'enrolment' ? refuse('key enrolled') : undefined
    }
    return refusal(join, failed)
  }

  /** undefined = something moved; look again. */
  async function knownAgent(join: JoinCommit): Promise<JoinOutcome | undefined> {
    const row = await table.get(keys.key(join.enrolment))
    const owner = row && keyFromItem(row)
    if (!owner) return undefined
    const id = owner.agentId
    const found = await table.getMany([
      keys.agent(id),
      keys.identity(id, join.service),
      keys.departed(id, join.service),
      useKey(join),
    ])
    const of = (entity: string) => found.find((item) => item['entity'] === entity)
    const agentRow = of('agent')
    if (!agentRow) return undefined
    const agent = agentFromItem(agentRow)
    const strikes = lockTargetsOf({
      id,
      service: join.service,
      token: agent.tokenName,
    })
    if ((await locks.onAny(strikes, join.now)).length > 0) return refuse('locked', id)
    const identityRow = of('identity')
    const old = identityRow && identityFromItem(identityRow)
    const same = old?.generation === 1 && old.current === join.key
    if (old && !same && !isWorthless(old, join)) return refuse('service enrolled', id)
    // A repeat moves no state on: only for the very join that it repeats.
    if (!same && join.bound?.again) return refuse('state moved', id)
    const counted = of('use') !== undefined
    const leftRow = of('departed')
    const left = leftRow && departedFromItem(leftRow)

    const identity = same ? old : firstIdentity(join, id, left)
    const agentWrites: Write[] = same
      ? [{ check: keys.agent(id), when: present }]
      : [
          { check: keys.agent(id), when: present },
          { put: identityItem(identity), when: old ? identityUnchanged(old) : absent },
          { check: keys.departed(id, join.service), when: departedUnchanged(left) },
        ]
    const groups = {
      enrol: [],
      token: tokenWrites(join, counted),
      proof: same ? [] : proofWrites(join, id),
      key: same
        ? []
        : [claimKey(join.key, id, join.service, { now: join.now, expires: identity.expires })],
      names: same ? [] : join.names.map((name) => claimName(name, id, agent.sharedNames)),
      agent: same ? agentWrites : [...agentWrites, ...noteClaims(id, join.names)],
    }
    if (same && counted) {
      // Nothing to write: the token's state is all that is left to ask.
      const dead = deadToken(join, await table.get(keys.token(join.token.name)))
      return dead ? refuse(dead, id) : { kind: 'again', agent, identity }
    }
    const failed = await commit(groups)
    if (!failed) {
      const outcome = { agent, identity: identityFromItem(identityItem(identity)) }
      return same ? { kind: 'again', ...outcome } : { kind: 'joined', newAgent: false, ...outcome }
    }
    // Another call of the same agent came first: its rows tell the rest.
    if (failed.agent.some((f) => f.failed) || (!counted && failed.token[1]?.failed))
      return undefined
    return refusal(join, failed, id)
  }

  async function commit<G extends Record<string, readonly Write[]>>(groups: G) {
    const failed = await table.transact(Object.values(groups).flat())
    if (!failed) return undefined
    let at = 0
    const split = {} as { [K in keyof G]: typeof failed }
    for (const name of Object.keys(groups) as (keyof G)[]) {
      const size = groups[name]?.length ?? 0
      split[name] = failed.slice(at, at + size)
      at += size
    }
    return split
  }

  type Outcome = readonly { readonly failed: boolean; readonly old: Plain | undefined }[]
  function refusal(
    join: JoinCommit,
    failed: { token: Outcome; proof: Outcome; key: Outcome; names: Outcome },
    agentId?: Agent['id'],
  ): JoinOutcome {
    const [token] = failed.token
    if (token?.failed) return refuse(deadToken(join, token.old) ?? 'used up', agentId)
    if (failed.proof.some((f) => f.failed))
      return refuse(join.spend ? 'evidence spent' : 'state moved', agentId)
    if (failed.key[0]?.failed) return refuse('key enrolled', agentId)
    const name = join.names[failed.names.findIndex((f) => f.failed)]
    if (name) return { kind: 'refused', reason: 'name taken', name, agentId }
    throw new AppError('ERR_INTERNAL', undefined, { internal: 'join: an agent id came up twice' })
  }
  const refuse = (reason: JoinRefusal, agentId?: Agent['id']): JoinOutcome => ({
    kind: 'refused',
    reason,
    agentId,
  })

  return {
    async commit(join) {
      // One key cannot be both: whoever holds the service's key could then add services.
      if (join.key === join.enrolment) return refuse('key enrolled')
      for (let attempt = 0; attempt < TRIES; attempt++) {
        const outcome = (await newAgent(join)) ?? (await knownAgent(join))
        if (outcome) return outcome
      }
      throw new AppError('ERR_TIMEOUT', 'The join met too many others', {
        internal: 'join: rows of the agent kept changing',
      })
    },
  }
}
