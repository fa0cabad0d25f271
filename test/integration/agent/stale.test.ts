/** A running agent that no word about the policy reaches any more: what it still lets in, and what its events say. */
import { connect, createServer, type AddressInfo, type Server } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AppListener } from '../../../cli/connect/app.ts'
import { LIMITS } from '../../../core/limits.ts'
import { handClock } from '../../support/clock.ts'
import { openGate, type AuditLine, type Gate } from './gate.ts'
import { leaping, type Leaping } from '../../support/leaping.ts'

const MINUTE = 60_000
// Node's own TLS looks at the machine's clock: the certificates hold at this moment as well.
const clock = handClock(Date.now() - 60 * MINUTE)
const wait = <T>(work: Promise<T>): Promise<T> => time.during(work)

let time: Leaping
let gate: Gate
let echo: Server
const ports = new Map<string, AppListener>()

beforeAll(async () => {
  time = leaping(clock)
  echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket))
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve))
  const { port } = echo.address() as AddressInfo
  gate = await wait(openGate({ clock }))
  const { operator } = gate
  await wait(
    operator.request('PUT', '/v1/roles/careful', {
      kind: 'role',
      version: 'v7',
      metadata: { name: 'careful' },
      spec: { allow: { app_labels: { '*': '*' } }, options: { lock: 'strict' } },
    }),
  )
  const services = `app_service: { enabled: true, apps: [{ name: echo, uri: tcp://127.0.0.1:${port} }] }`
  const { agent, log } = await wait(gate.start({ token: await wait(gate.mint()), services }))
  await wait(agent.settled())
  await wait(log.seen('announce.done'))
  for (const [user, role] of [
    ['strict', 'careful'],
    ['lax', 'access'],
  ] as const) {
    const session = await wait(gate.user(user, [role]))
    ports.set(user, await wait(gate.listen(session, 'echo')))
  }
})
afterAll(async () => {
  echo.close()
  await wait(gate.close())
  time.stop()
})

/** Whether a new stream of that user carries a byte there and back. */
function opens(user: string): Promise<boolean> {
  const came = new Promise<boolean>((resolve) => {
    const socket = connect(ports.get(user)?.port ?? 0, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.once('data', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('close', () => resolve(false))
    socket.write('?')
  })
  return wait(came)
}

const of =
  (actor: string, outcome: string) =>
  (event: AuditLine): boolean =>
    event.actor === actor && event.outcome === outcome && event.type === 'app.start'

/** From now on neither agent nor proxy gets a policy or a stamp. */
function cutPolicy(): void {
  const { plane } = gate.cluster
  const fetch = plane.fetch.bind(plane)
  plane.fetch = async (request, peer) =>
    new URL(request.url).pathname.startsWith('/v1/policy')
      ? new Response(null, { status: 503 })
      : fetch(request, peer)
}

test('strict refuses new streams on a view older than 5 minutes; best_effort marks what it decides after 15', async () => {
  expect(await opens('strict')).toBe(true)
  expect(await opens('lax')).toBe(true)
  expect((await wait(gate.event(of('lax', 'ok')))).fields).not.toHaveProperty('stale_policy')

  cutPolicy()
  await time.pass(LIMITS.policyStrict.value + MINUTE)
  expect(await opens('strict')).toBe(false)
  const refused = await wait(gate.event((e) => e.actor === 'strict' && e.outcome === 'refused'))
  expect(refused.reason).toMatch(/lock mode is strict/)
  expect(await opens('lax')).toBe(true)

  await time.pass(LIMITS.policyStaleMark.value - LIMITS.policyStrict.value)
  expect(await opens('lax')).toBe(true)
  await wait(gate.event((e) => of('lax', 'ok')(e) && Object.hasOwn(e.fields, 'stale_policy')))
  const { items } = (await wait(gate.operator.request('GET', '/v1/events?limit=200'))) as {
    items: AuditLine[]
  }
  const marks = items.filter(of('lax', 'ok')).map((e) => e.fields['stale_policy'])
  expect(marks.filter((mark) => mark === true)).toHaveLength(1)
  expect(marks).toHaveLength(3)
})
