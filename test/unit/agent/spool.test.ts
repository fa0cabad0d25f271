/** The audit spool: nothing acknowledged is lost, nothing is sent for ever, and it never grows without bound. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { UnsentEvent } from '../../../agent/audit/event-line.ts'
import { openSpool, type Spool } from '../../../agent/audit/spool.ts'
import { drain } from '../../../agent/audit/upload.ts'
import { systemClock } from '../../../core/clock.ts'
import { agentEvents, type AgentEvent } from '../../../core/domain/event.ts'
import { AppError } from '../../../core/errors.ts'
import { systemRandom } from '../../../core/random.ts'
import { recordingLog } from '../../support/recording-log.ts'

let dir: string
const log = recordingLog()
const deps = { clock: systemClock, random: { ...systemRandom, float: () => 0 }, log }
const open = (limits = {}): Promise<Spool> => openSpool({ dataDir: dir, ...deps, limits })
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'postern-spool-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const event = (change: Partial<UnsentEvent> = {}): UnsentEvent => ({
  type: 'session.start',
  outcome: 'ok',
  actor: 'ann',
  resource: 'node/web-1',
  session: 'se_1',
  reason: undefined,
  fields: {},
  ...change,
})

async function sendAll(
  spool: Spool,
  send: (events: readonly AgentEvent[]) => Promise<void> = async () => undefined,
): Promise<AgentEvent[]> {
  const taken: AgentEvent[] = []
  await drain({
    spool,
    ...deps,
    signal: new AbortController().signal,
    send: async (events) => {
      agentEvents.parse({ events })
      await send(events)
      taken.push(...events)
    },
  })
  return taken
}

test('events arrive in order, in batches, each with a key of its own, and the files go', async () => {
  const spool = await open({ segment: 4000 })
  for (let n = 0; n < 250; n++) spool.append(event({ fields: { n } }))
  const sizes: number[] = []
  const got = await sendAll(spool, async (events) => void sizes.push(events.length))
  expect(got.map((e) => e.fields['n'])).toEqual(Array.from({ length: 250 }, (_, n) => n))
  expect(new Set(got.map((e) => e.key)).size).toBe(250)
  expect(Math.max(...sizes)).toBeLessThanOrEqual(100)
  expect(readdirSync(join(dir, 'audit'))).toEqual([])
  spool.close()
})

test('what was not acknowledged is sent again with the same keys, also after a restart', async () => {
  const first = await open()
  for (let n = 0; n < 5; n++) first.append(event({ fields: { n } }))
  const keys: string[] = []
  const stop = new AbortController()
  await drain({
    spool: first,
    ...deps,
    signal: stop.signal,
    send: async (events) => {
      keys.push(...events.map((e) => e.key))
      stop.abort(new Error('the machine went away'))
      throw new AppError('ERR_UNREACHABLE')
    },
  }).catch(() => undefined)
  first.close()
  const second = await open()
  expect((await sendAll(second)).map((e) => e.key)).toEqual(keys)
  second.close()
})

test('an event that the control plane will never take does not block those behind it', async () => {
  const spool = await open()
  for (let n = 0; n < 5; n++) spool.append(event({ fields: { n } }))
  const got = await sendAll(spool, async (events) => {
    if (events.some((e) => e.fields['n'] === 2)) throw new AppError('ERR_INPUT_INVALID')
  })
  expect(got.map((e) => e.fields['n'])).toEqual([0, 1, 3, 4])
  expect(spool.oldest()).toBeUndefined()
  spool.close()
})

test('texts of any length fit what the control plane accepts', async () => {
  const spool = await open()
  spool.append(
    event({
      actor: 'a'.repeat(5000),
      reason: 'r'.repeat(5000),
      fields: { ...Object.fromEntries(Array.from({ length: 99 }, (_, i) => [`f${i}`, i])) },
    }),
  )
  spool.append(
    event({ fields: { command: 'x'.repeat(1e6), nan: Number.NaN, list: ['y'.repeat(9999)] } }),
  )
  const got = await sendAll(spool)
  expect(got).toHaveLength(2)
  expect(String(got[1]?.fields['command'])).toMatch(/…$/)
  spool.close()
})

test('a line that a crash cut short is skipped and spoils no other', async () => {
  const first = await open()
  first.append(event({ fields: { n: 1 } }))
  first.close()
  const [name = ''] = readdirSync(join(dir, 'audit'))
  appendFileSync(join(dir, 'audit', name), '{"key":"half')
  const second = await open()
  second.append(event({ fields: { n: 2 } }))
  expect((await sendAll(second)).map((e) => e.fields['n'])).toEqual([1, 2])
  second.close()
})

// Filling the spool must not be a way to make one's refused attempts disappear.
test('a full spool keeps the refusals, drops the oldest of the rest, and says how many', async () => {
  const total = 200_000
  const spool = await open({ total, segment: 10_000 })
  spool.append(
    event({ type: 'session.refused', outcome: 'refused', reason: 'the one that matters' }),
  )
  for (let n = 0; n < 2000; n++) spool.append(event({ fields: { n, pad: 'x'.repeat(100) } }))
  expect(spool.bytes).toBeLessThanOrEqual(total)
  const got = await sendAll(spool)
  expect(got[0]).toMatchObject({ reason: 'the one that matters' })
  const dropped = got
    .filter((e) => e.type === 'audit.dropped')
    .reduce((sum, e) => sum + Number(e.fields['count']), 0)
  const kept = got.filter((e) => e.type === 'session.start')
  expect(dropped + kept.length).toBeGreaterThanOrEqual(2000)
  expect(kept.at(-1)?.fields['n']).toBe(1999)
  spool.close()
})

test('kill -9 loses no event that append had returned for', async () => {
  const writer = new URL('./spool-writer.ts', import.meta.url).pathname
  const child = spawn(process.execPath, ['--import', 'tsx', writer, dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let told = -1
  for await (const line of createInterface({ input: child.stdout })) {
    told = Number(line)
    if (told >= 500) break
  }
  child.kill('SIGKILL')
  await once(child, 'exit')
  const spool = await open()
  const got = (await sendAll(spool)).map((e) => e.fields['n'])
  expect(got.length).toBeGreaterThan(told)
  expect(got).toEqual(got.map((_, n) => n))
  spool.close()
})
