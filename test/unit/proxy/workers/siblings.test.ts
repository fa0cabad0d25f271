// Workers of one proxy among themselves: what each knows of the others, and a stream from one to another over a real socket.
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../../../core/clock.ts'
import type { AgentId, ConnId } from '../../../../core/ids.ts'
import { silentLog } from '../../../../core/log.ts'
import { LIMITS } from '../../../../core/limits.ts'
import { systemRandom } from '../../../../core/random.ts'
import type { TunnelStream } from '../../../../core/tunnel/stream.ts'
import { createWindowBudget } from '../../../../core/tunnel/window-budget.ts'
import type { Tunnel } from '../../../../proxy/tunnels.ts'
import { createRoster } from '../../../../proxy/workers/roster.ts'
import { createWorkerSiblings, type WorkerSiblings } from '../../../../proxy/workers/siblings.ts'
import { handClock } from '../../../support/clock.ts'
import { failure } from '../../../support/pki.ts'
import { collect, echo } from '../../../support/streams.ts'

const agentTunnel = (agent: string, conn: string): Tunnel =>
  ({
    kind: 'agent',
    connId: conn as ConnId,
    identity: { kind: 'agent', agentId: agent as AgentId, service: 'ssh' },
  }) as unknown as Tunnel
const userTunnel = (user: string, conn: string): Tunnel =>
  ({ kind: 'user', connId: conn as ConnId, identity: { kind: 'user', user } }) as unknown as Tunnel

interface TestWorker {
  readonly siblings: WorkerSiblings
  readonly came: string[]
  readonly left: string[]
  offered: ((stream: TunnelStream, payload: Buffer) => void) | undefined
}

let dir: string
let heard: () => void
let nextNews: Promise<void>
const all = new Map<number, TestWorker>()
const roster = createRoster()

/** As the first process does it. */
async function start(id: number): Promise<TestWorker> {
  const siblings = createWorkerSiblings({
    budget: createWindowBudget(),
    tell(opened, closed) {
      const news = roster.changed(id, opened, closed)
      for (const [other, worker] of all) if (other !== id) worker.siblings.take(news)
      heard()
    },
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  })
  const worker: TestWorker = { siblings, came: [], left: [], offered: undefined }
  siblings.attach({
    onOpen: (stream, payload) => worker.offered?.(stream, payload),
    onAgent: (agent) => worker.came.push(agent),
    onAgentGone: (agent) => worker.left.push(agent),
  })
  for (const news of roster.all()) siblings.take(news)
  const path = join(dir, `${id}.sock`)
  const news = roster.joined(id, path)
  for (const other of all.values()) other.siblings.take(news)
  all.set(id, worker)
  await siblings.listen(path)
  return worker
}
const reached = async (from: TestWorker, agent: string) => {
  const found = []
  const signal = new AbortController().signal
  for await (const way of from.siblings.reach([agent as AgentId], 'ssh', signal)) found.push(way)
  return found
}
const news = async (): Promise<void> => {
  await nextNews
  nextNews = new Promise((resolve) => (heard = resolve))
}

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-'))
  nextNews = new Promise((resolve) => (heard = resolve))
})
afterEach(async () => {
  for (const [id, { siblings }] of all) {
    siblings.close()
    roster.left(id)
  }
  all.clear()
  await rm(dir, { recursive: true })
})

test('a stream goes to the worker that has the agent, bytes and answer unchanged', async () => {
  const one = await start(1)
  const two = await start(2)
  two.siblings.opened(agentTunnel('ag_1', 'c1'))
  await news()
  two.offered = (stream, payload) => {
    stream.accept(payload)
    echo(stream)
  }
  const [way] = await reached(one, 'ag_1')
  const stream = await way?.session.open(Buffer.from('who'))
  if (!stream) throw new Error('no way')
  expect(stream.payload.toString()).toBe('who')
  const back = collect(stream)
  stream.start()
  stream.write(Buffer.alloc(300_000, 7))
  stream.end()
  expect((await back).equals(Buffer.alloc(300_000, 7))).toBe(true)
  expect(await reached(one, 'ag_2')).toEqual([])
})

test('a worker that starts later knows what the others have', async () => {
  const one = await start(1)
  one.siblings.opened(agentTunnel('ag_1', 'c1'))
  one.siblings.opened(userTunnel('alice', 'c2'))
  await news()
  const two = await start(2)
  expect(two.came).toEqual(['ag_1'])
  expect(two.siblings.countOfAgent('ag_1' as AgentId, 'ssh')).toBe(1)
  expect(two.siblings.countOfUser('alice')).toBe(1)
  expect(await reached(two, 'ag_1')).toHaveLength(1)
})

test('tunnels that close, and all those of a worker that died, are gone for the others', async () => {
  const one = await start(1)
  const two = await start(2)
  for (const conn of ['c1', 'c2']) two.siblings.opened(agentTunnel('ag_1', conn))
  two.siblings.opened(userTunnel('alice', 'c3'))
  await news()
  two.siblings.closed(agentTunnel('ag_1', 'c1'))
  await news()
  expect(one.siblings.countOfAgent('ag_1' as AgentId, 'ssh')).toBe(1)
  expect(one.left).toEqual(['ag_1'])
  one.siblings.take(roster.left(2))
  expect(one.left).toEqual(['ag_1', 'ag_1'])
  expect(one.siblings.countOfAgent('ag_1' as AgentId, 'ssh')).toBe(0)
  expect(one.siblings.countOfUser('alice')).toBe(0)
  expect(await reached(one, 'ag_1')).toEqual([])
})

test('a sibling whose socket is gone is no way, and the next one is', async () => {
  const one = await start(1)
  const two = await start(2)
  const three = await start(3)
  two.siblings.opened(agentTunnel('ag_1', 'c1'))
  await news()
  three.siblings.opened(agentTunnel('ag_1', 'c2'))
  await news()
  await rm(join(dir, '2.sock'))
  expect(await reached(one, 'ag_1')).toHaveLength(1)
})

test('streams through a worker that stands still are told within seconds', async () => {
  const clock = handClock()
  const one = createWorkerSiblings({
    budget: createWindowBudget(),
    tell: () => undefined,
    clock,
    random: systemRandom,
    log: silentLog,
  })
  const path = join(dir, 'frozen.sock')
  const frozen = createServer((socket) => socket.pause())
  frozen.listen(path)
  await once(frozen, 'listening')
  const agent = { kind: 'agent', agentId: 'ag_1' as AgentId, service: 'ssh' } as const
  one.take({ worker: 9, path, opened: [{ ...agent, connId: 'c1' as ConnId }], closed: [] })
  for await (const way of one.reach([agent.agentId], 'ssh', new AbortController().signal)) {
    const over = failure(() => way.session.open(Buffer.from('who')))
    clock.advance(LIMITS.suspectAfter.value)
    expect(way.suspect).toBe(true)
    for (let ms = 0; ms < LIMITS.suspectGrace.value; ms += LIMITS.suspectAfter.value) {
      clock.advance(LIMITS.suspectAfter.value)
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect((await over)?.code).toBe('ERR_TUNNEL_CLOSED')
  }
  one.close()
  frozen.close()
})

test('nobody is told of a tunnel that was gone in the same turn', async () => {
  const one = await start(1)
  const two = await start(2)
  two.siblings.opened(agentTunnel('ag_1', 'c1'))
  two.siblings.closed(agentTunnel('ag_1', 'c1'))
  two.siblings.opened(agentTunnel('ag_2', 'c2'))
  await news()
  expect(one.came).toEqual(['ag_2'])
})
