// Writing presence: the last wish wins, writes are bounded, a lost answer loses nothing.
import { expect, test } from 'vitest'
import type { TunnelRow } from '../../../core/domain/presence.ts'
import type { AgentId, ConnId, ProxyId } from '../../../core/ids.ts'
import { silentLog } from '../../../core/log.ts'
import { newCounters } from '../../../proxy/counters.ts'
import { createPresenceRows } from '../../../proxy/presence-rows.ts'
import { handClock } from '../../support/clock.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))
const row = (agent: string, conn: string): TunnelRow => ({
  agentId: agent as AgentId,
  service: 'ssh',
  proxyId: 'px' as ProxyId,
  bootId: 'boot',
  connId: conn as ConnId,
  opened: handClock().now(),
})

/** A table whose answers come when the test lets them. */
function slowTable() {
  const pending: { what: string; done: () => void; fail: () => void }[] = []
  const write = (what: string): Promise<void> =>
    new Promise((resolve, reject) =>
      pending.push({ what, done: resolve, fail: () => reject(new Error('lost')) }),
    )
  const clock = handClock()
  const counters = newCounters()
  const rows = createPresenceRows({
    presence: {
      putTunnel: (r) => write(`put ${r.connId}`),
      endTunnel: (r) => write(`end ${r.connId}`),
    },
    clock,
    random: { bytes: (n) => Buffer.alloc(n), float: () => 0.5 },
    counters,
    log: silentLog,
  })
  return { rows, pending, clock, counters }
}

test('ten thousand agents that come at once are written a few at a time', async () => {
  const { rows, pending } = slowTable()
  for (let i = 0; i < 10_000; i++) rows.want(`a${i}`, row(`a${i}`, `c${i}`))
  await turn()
  expect(pending).toHaveLength(32)
  const settled = rows.settled(new AbortController().signal)
  let written = 0
  while (pending.length > 0) {
    written += pending.length
    for (const write of pending.splice(0)) write.done()
    await turn()
  }
  await settled
  expect(written).toBe(10_000)
})

test('an agent that comes and goes while a write is under way costs no more than its last state', async () => {
  const { rows, pending } = slowTable()
  rows.want('a', row('a', 'c1'))
  await turn()
  for (const conn of ['c2', 'c3', 'c4']) {
    rows.want('a', undefined)
    rows.want('a', row('a', conn))
  }
  const seen: string[] = []
  for (let i = 0; i < 4 && pending.length > 0; i++) {
    for (const write of pending.splice(0)) {
      seen.push(write.what)
      write.done()
    }
    await turn()
  }
  expect(seen).toEqual(['put c1', 'put c4', 'end c1'])
})

test('a put whose answer was lost is taken back when the agent is gone', async () => {
  const { rows, pending, clock, counters } = slowTable()
  rows.want('a', row('a', 'c1'))
  await turn()
  pending.shift()?.fail()
  rows.want('a', undefined)
  await turn()
  clock.advance(1_000)
  await turn()
  expect(pending.map((write) => write.what)).toEqual(['end c1'])
  pending.shift()?.done()
  await rows.settled(new AbortController().signal)
  expect(counters).toMatchObject({ presenceWrites: 1, presenceFailures: 1 })
})

test('giving up waits for nothing', async () => {
  const { rows } = slowTable()
  rows.want('a', row('a', 'c1'))
  const enough = new AbortController()
  const settled = rows.settled(enough.signal)
  enough.abort()
  await settled
})

test('a connection that is wanted once more, as when an older one of the agent ends, keeps its row', async () => {
  const { rows, pending } = slowTable()
  rows.want('a', row('a', 'older'))
  pending.shift()?.done()
  await turn()
  rows.want('a', row('a', 'newer'))
  pending.shift()?.done()
  await turn()
  expect(pending.map((p) => p.what)).toEqual(['end older'])
  pending.shift()?.done()
  await turn()
  // The same facts, made anew.
  rows.want('a', row('a', 'newer'))
  await turn()
  expect(pending.map((p) => p.what)).toEqual([])
})
