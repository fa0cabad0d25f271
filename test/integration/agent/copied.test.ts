/** A copied data_dir, as from a stolen disk or a cloned image: at the next renewal one of the two is one too many. */
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { handClock } from '../../support/clock.ts'
import { openGate, type AuditLine, type Gate } from './gate.ts'
import { during } from './paced.ts'

const HOUR = 3_600_000
// Node's own TLS looks at the machine's clock: the certificates hold at this moment as well.
const clock = handClock(Date.now() - 16 * HOUR)
const wait = <T>(work: Promise<T>): Promise<T> => during(clock, work)
let gate: Gate

beforeAll(async () => {
  gate = await wait(openGate({ clock }))
})
afterAll(() => wait(gate.close()))

/** The leap ends connections that were kept open: a question on one of them is asked again, until the test's own time is over. */
const asked = <T>(question: () => Promise<T>): Promise<T> => question().catch(() => asked(question))
const lockEvent = (): Promise<AuditLine> => asked(() => gate.event((e) => e.type === 'lock.create'))

test('two agents of one identity: caught at the renewal, locked, and in the audit log', async () => {
  const services = 'app_service: { enabled: true, apps: [{ name: a, uri: "tcp://127.0.0.1:1" }] }'
  const token = await wait(gate.mint())
  const first = await wait(gate.start({ token, services }))
  await wait(first.agent.settled())
  const copy = join(gate.dir, 'copy')
  cpSync(first.dataDir, copy, { recursive: true })
  rmSync(join(copy, 'agent.lock'), { force: true })
  const second = await wait(gate.start({ dataDir: copy, services }))
  await wait(second.agent.settled())
  expect(second.agent.agentId).toBe(first.agent.agentId)
  // Before a renewal nothing tells one from the other.
  const states = () => [first, second].map(({ agent }) => agent.services.get('app')?.state)
  expect(states()).toEqual(['online', 'online'])

  // Renewals fall due between 0.4 and 0.6 of 24 h.
  clock.advance(15 * HOUR)
  expect(await wait(lockEvent())).toMatchObject({
    reason: 'copied identity',
    resource: `agent/${first.agent.agentId}`,
  })
  expect(await wait(asked(() => gate.operator.request('GET', '/v1/locks')))).toMatchObject({
    items: [{ spec: { target: { agent: first.agent.agentId } } }],
  })
  await wait(vi.waitUntil(() => !states().includes('online'), { timeout: 30_000 }))
})
