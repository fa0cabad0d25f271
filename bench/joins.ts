/**
 * `npm run bench:joins`: joins per second of one process on one core, file signer, embedded store on disk with synced writes, and
 * the latency of a join at half the target's load. Run it as `taskset -c 0 npx tsx bench/joins.ts` for one core. The machine that
 * joins signs outside the measured time; both of its calls, challenge and join, are inside.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MessageChannel } from 'node:worker_threads'
import type { JoinPayload, JoinRequest } from '../core/api/join.ts'
import { generateKey, keySigner } from '../core/certs/signer.ts'
import { sleep, systemClock } from '../core/clock.ts'
import { tokenSecretHash } from '../core/domain/token-secret.ts'
import { encodeKey, signJoin } from '../core/join/messages.ts'
import { createLocalControlPlane } from '../functions/wiring.ts'
import { median, save } from './support/rounds.ts'

const BATCH = Number(process.env['BENCH_JOINS'] ?? 400)
const ROUNDS = 5
const HALF_LOAD = 200
const ORIGIN = 'https://bench.test'

const dir = mkdtempSync(join(tmpdir(), 'postern-bench-'))
const plane = await createLocalControlPlane({
  dataDir: join(dir, 'data'),
  publicOrigins: () => [ORIGIN],
  proxies: () => ['bench.test:443'],
})
const { operatorKey } = await plane.bootstrap({ user: 'bench', roles: ['editor'] })

let calls = 0
async function post(path: string, body: unknown, headers: Record<string, string> = {}) {
  // Each machine has an address of its own, as rate limits expect.
  const ip = `10.${(calls >> 16) & 255}.${(calls >> 8) & 255}.${calls++ & 255}`
  const request = new Request(ORIGIN + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  const answer = await plane.fetch(request, { ip })
  if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`)
  return (await answer.json()) as Record<string, string>
}

const minted = await post(
  '/v1/tokens',
  { roles: ['Node'], max_uses: null, ttl: '1h' },
  { authorization: `Bearer ${operatorKey}` },
)
const secret = minted['secret'] ?? ''
const token = tokenSecretHash(secret)

let made = 0
function machine() {
  const enrolment = generateKey()
  const service = generateKey()
  const keys = {
    enrolment_key: encodeKey(enrolment.publicKey),
    service_key: encodeKey(service.publicKey),
  }
  const node = `bench-${++made}`
  return {
    ask: () => post('/v1/join/challenge', { method: 'token', token, service: 'ssh', ...keys }),
    sign(challenge: string): Promise<JoinRequest> {
      const evidence = { secret }
      const payload: JoinPayload = {
        challenge,
        method: 'token',
        service: 'ssh',
        ...keys,
        node_name: node,
        evidence,
      }
      return signJoin(payload, {
        enrolment: keySigner(enrolment.privateKey),
        service: keySigner(service.privateKey),
      })
    },
    enter: (request: JoinRequest) => post('/v1/join', request),
  }
}

interface Round {
  /** By the clock on the wall: what a machine that does nothing else reaches. */
  readonly perSecond: number
  /** By processor time, which neighbours on the machine do not change. */
  readonly perCpuSecond: number
}

/** Joins a batch, 64 in flight; the server's own work alone is measured. */
async function round(): Promise<Round> {
  const machines = Array.from({ length: BATCH }, machine)
  const all = async <T, R>(items: readonly T[], each: (item: T) => Promise<R>): Promise<R[]> => {
    const results: R[] = []
    for (let i = 0; i < items.length; i += 64)
      results.push(...(await Promise.all(items.slice(i, i + 64).map(each))))
    return results
  }
  const cpu = (): number => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  }
  const [started, cpuStarted] = [systemClock.monotonic(), cpu()]
  const challenges = await all(machines, (m) => m.ask())
  const [asked, cpuAsked] = [systemClock.monotonic() - started, cpu() - cpuStarted]
  const requests = await Promise.all(
    machines.map(async (m, i) => ({ m, r: await m.sign(challenges[i]?.['challenge'] ?? '') })),
  )
  const [signed, cpuSigned] = [systemClock.monotonic(), cpu()]
  await all(requests, ({ m, r }) => m.enter(r))
  return {
    perSecond: (BATCH * 1000) / (asked + systemClock.monotonic() - signed),
    perCpuSecond: (BATCH * 1000) / (cpuAsked + cpu() - cpuSigned),
  }
}

/** Machines that come at a steady rate, whether or not the ones before are done: from arrival to identity, in ms. */
async function latencies(perSecond: number, seconds: number): Promise<number[]> {
  const machines = Array.from({ length: perSecond * seconds }, machine)
  const started = systemClock.monotonic()
  const times = machines.map(async (m, i) => {
    const due = started + (i * 1000) / perSecond
    await sleep(systemClock, Math.max(0, due - systemClock.monotonic()))
    const { challenge = '' } = await m.ask()
    await m.enter(await m.sign(challenge))
    return systemClock.monotonic() - due
  })
  return (await Promise.all(times)).sort((a, b) => a - b)
}

// Timers of the clock keep no process alive; this does, until the end.
const { port1: alive } = new MessageChannel()
alive.on('message', () => undefined)

await round() // warm-up
const rounds: Round[] = []
for (let i = 0; i < ROUNDS; i++) rounds.push(await round())
const waits = await latencies(HALF_LOAD, 10)
const at = (q: number): number => waits[Math.floor(waits.length * q)] ?? Number.NaN
const rows = [
  {
    figure: 'joins per second',
    value: Math.round(median(rounds.map((r) => r.perSecond))),
    target: '≥ 400',
  },
  { figure: 'joins per CPU second', value: Math.round(median(rounds.map((r) => r.perCpuSecond))) },
  { figure: `p50 at ${HALF_LOAD}/s, ms`, value: Number(at(0.5).toFixed(1)) },
  { figure: `p99 at ${HALF_LOAD}/s, ms`, value: Number(at(0.99).toFixed(1)), target: '≤ 25' },
]
console.table(rows)
save('joins', rows)
await plane.close()
alive.close()
rmSync(dir, { recursive: true, force: true })
