/**
 * What a proxy's container runs: fetches the proxy from the artefact bucket with the task's role, checks its SHA-256 against the one in
 * the task definition, runs it, passes SIGTERM on, and reports its metrics. It is small enough to be in the task definition itself, so the
 * image is the public one of Node and nothing has to be built or trusted besides. Bundled by infra/stacks/proxies.ts.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { taskCredentials } from './aws.ts'
import { metricLine } from './metrics.ts'
import {
  fetchBundle,
  moveName,
  privateAddress,
  proxyConfig,
  publicAddress,
  type TaskSettings,
} from './task.ts'

const REPORT_EVERY_MS = 60_000
const LOOK_EVERY_MS = 1000

const say = (level: string, event: string, fields: Record<string, unknown> = {}): void =>
  void process.stdout.write(`${JSON.stringify({ level, event, ...fields })}\n`)
const reason = (e: unknown): string => (e instanceof Error ? e.message : 'unknown')

const settings = JSON.parse(process.env['POSTERN_TASK'] ?? '{}') as TaskSettings
const dir = process.env['POSTERN_TASK_DIR'] ?? '/work'
const { dns } = settings

async function prepare(): Promise<{ program: string; config: string; own: string }> {
  const own = await privateAddress(process.env)
  const bytes = await fetchBundle(settings, await taskCredentials(process.env))
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  if (sha256 !== settings.bundle.sha256)
    throw new Error(`the proxy in the bucket is not the one that was deployed: ${sha256}`)
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const program = join(dir, 'proxy.mjs')
  const config = join(dir, 'proxy.yaml')
  writeFileSync(program, bytes, { mode: 0o600 })
  writeFileSync(config, proxyConfig(settings, join(dir, 'data'), own), { mode: 0o600 })
  return { program, config, own }
}

async function isReady(): Promise<boolean> {
  const answer = await fetch(`http://127.0.0.1:${settings.diagPort}/readyz`, {
    signal: AbortSignal.timeout(2000),
  }).catch(() => undefined)
  return answer?.ok === true
}

async function report(): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${settings.diagPort}/metrics`, {
    signal: AbortSignal.timeout(2000),
  })
  const line = metricLine(await answer.text(), settings.cluster, await isReady(), Date.now())
  process.stdout.write(`${line}\n`)
}

/** Only a proxy that serves gets the name; one that never does leaves it where it is. */
function followWithName(own: string): void {
  if (!dns) return
  const move = async (): Promise<void> => {
    if (!(await isReady())) return void setTimeout(again, LOOK_EVERY_MS)
    const credentials = await taskCredentials(process.env)
    const address = await publicAddress(settings, own, credentials)
    await moveName({ ...settings, dns }, address, credentials)
    say('info', 'task.name_moved', { name: dns.name, address })
  }
  const again = (): void =>
    void move().catch((e: unknown) => {
      say('error', 'task.name_not_moved', { name: dns.name, reason: reason(e) })
      setTimeout(again, 10 * LOOK_EVERY_MS)
    })
  again()
}

try {
  const { program, config, own } = await prepare()
  // What the task was told is not for the proxy, nor for whoever looks at its environment.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => name !== 'POSTERN_TASK'),
  )
  const proxy = spawn(process.execPath, [program, 'serve', 'proxy', '-c', config], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env,
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => {
      say('info', 'task.stopping', { signal })
      proxy.kill('SIGTERM')
    })
  proxy.on('exit', (code, signal) => {
    say(code === 0 ? 'info' : 'error', 'task.proxy_ended', { code, signal })
    process.exit(code ?? 1)
  })
  setInterval(() => {
    report().catch((e: unknown) => say('warn', 'task.no_metrics', { reason: reason(e) }))
  }, REPORT_EVERY_MS)
  followWithName(own)
} catch (e) {
  say('error', 'task.not_started', { reason: reason(e) })
  process.exitCode = 1
}
