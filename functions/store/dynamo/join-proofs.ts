/**
 * What the evidence of a join spends or moves on: part of the join's own transaction, so that a join that is refused for any other
 * reason spends nothing. Also the bound keypairs themselves (bound-keypair-store.ts).
 */
import * as z from 'zod'
import { seconds } from '../../../core/clock.ts'
import { IDENTITY_KINDS, type IdentityKind } from '../../../core/domain/service.ts'
import type { AgentId, Thumbprint } from '../../../core/ids.ts'
import type { JoinState } from '../../../core/join/bound-keypair-state.ts'
import type { BoundMove, Spend } from '../../../core/join/join-method.ts'
import type { BoundKeypairStore } from '../bound-keypair-store.ts'
import type { JoinCommit } from '../join-store.ts'
import { keys } from '../table.ts'
import { codec, idOf } from './codec.ts'
import type { TableClient, Write } from './table-client.ts'
import { absent, present } from './table-client.ts'
import { tokenTtl } from './tokens.ts'

const spentRows = codec('once', z.object({ by: z.string() }), (b) => b.by)
const keyRows = codec(
  'bound',
  z.object({ key: idOf<Thumbprint>(), locked: z.boolean().optional() }),
  (b) => ({ key: b.key, locked: b.locked ?? false }),
)
const stateRows = codec(
  'boundJoin',
  z.object({
    service: z.enum(IDENTITY_KINDS),
    sequence: z.int(),
    agentId: idOf<AgentId>(),
    enrolment: idOf<Thumbprint>(),
    serviceKey: idOf<Thumbprint>(),
  }),
  (b): JoinState & { service: IdentityKind } => b,
)

function spend(join: JoinCommit, proof: Spend): Write[] {
  // Rounded up: a second too long refuses a replay, a second too short lets one in.
  const until = Math.ceil(proof.until / 1000)
  const key = keys.once('join', proof.id)
  return [
    {
      put: spentRows.item({ ...key, ttl: until }, { until, by: join.enrolment }),
      when: {
        text: 'attribute_not_exists(pk) OR #until <= :now OR #by = :by',
        names: { '#until': 'until', '#by': 'by' },
        values: { ':now': seconds(join.now), ':by': join.enrolment },
      },
    },
  ]
}

function moveOn(join: JoinCommit, move: BoundMove, agentId: AgentId): Write[] {
  const { token, service, enrolment, key: serviceKey } = join
  const ttl = tokenTtl(token)
  const keyKey = keys.bound(token.name, token.created)
  const stateKey = keys.boundJoin(token.name, token.created, service)
  const sequence = (move.from?.sequence ?? 0) + 1
  const ours = {
    text: '#key = :key AND attribute_not_exists(#locked)',
    names: { '#key': 'key', '#locked': 'locked' },
    values: { ':key': move.key },
  }
  return [
    move.register
      ? {
          // Two services that start together register the same key twice.
          put: keyRows.item({ ...keyKey, ttl }, { key: move.key }),
          when: { ...ours, text: `attribute_not_exists(pk) OR (${ours.text})` },
        }
      : { check: keyKey, when: ours },
    {
      put: stateRows.item(
        { ...stateKey, ttl },
        { service, sequence, agentId, enrolment, serviceKey },
      ),
      when: move.from
        ? {
            text: '#sequence = :sequence',
            names: { '#sequence': 'sequence' },
            values: { ':sequence': move.from.sequence },
          }
        : absent,
    },
  ]
}

/** Conditions that fail mean: spent by somebody else, or the state moved since it was read. */
export function proofWrites(join: JoinCommit, agentId: AgentId): Write[] {
  return [
    ...(join.spend ? spend(join, join.spend) : []),
    ...(join.bound ? moveOn(join, join.bound, agentId) : []),
  ]
}

export function createBoundKeypairStore({
  table,
}: {
  readonly table: TableClient
}): BoundKeypairStore {
  return {
    async get({ name, created }) {
      const items = await table.getMany([
        keys.bound(name, created),
        ...IDENTITY_KINDS.map((service) => keys.boundJoin(name, created, service)),
      ])
      const row = items.find((item) => item['entity'] === 'bound')
      if (!row) return undefined
      const states = items
        .filter((item) => item['entity'] === 'boundJoin')
        .map((item) => stateRows.fromItem(item))
      return {
        ...keyRows.fromItem(row),
        services: Object.fromEntries(states.map((state) => [state.service, state])),
      }
    },
    async lock({ name, created }) {
      await table.write({
        key: keys.bound(name, created),
        update: {
          text: 'SET #locked = :true',
          names: { '#locked': 'locked' },
          values: { ':true': true },
        },
        when: present,
      })
    },
  }
}
