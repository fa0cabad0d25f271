// What an operator watches: metrics, health and logs of real processes, read as Prometheus and a log collector read them.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missing, peer } from '../../support/peers.ts'
import { CHECKOUT, lineOf, postern, shell, temporaryHome, up } from './postern.ts'
import type { Home, RunningUp } from './postern.ts'

type Line = Readonly<Record<string, unknown>>

describe.skipIf(missing('ssh', 'promtool'))('metrics, health and logs', () => {
  const node = hostname().toLowerCase()
  let home: Home
  let dataDir: string
  let running: RunningUp
  let agent: ChildProcess | undefined
  let diag: string
  let agentDiag: string
  const agentLog: Line[] = []

  const log = async (): Promise<Line[]> =>
    (await readFile(join(dataDir, 'up.log'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Line)
  const page = async (url: string): Promise<string> => (await fetch(url)).text()
  const value = (text: string, series: string): number =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${series} `))
        ?.slice(series.length),
    )

  beforeAll(async () => {
    home = await temporaryHome()
    dataDir = join(home.dir, 'data')
    running = await up(
      home,
      // prettier-ignore
      ['--data-dir', dataDir, '--listen', '127.0.0.1:0', '--diag-addr', '127.0.0.1:0', '--log-format', 'json'],
      CHECKOUT,
    )
    const listening = (await log()).find((l) => l['event'] === 'diagnostics.listening')
    diag = `http://127.0.0.1:${String(listening?.['port'])}`

    const yaml = await readFile(join(dataDir, 'agent2.yaml'), 'utf8')
    const file = join(dataDir, 'watched.yaml')
    await writeFile(
      file,
      yaml.replace('postern:\n', 'postern:\n  diag_addr: 127.0.0.1:0\n  log: { format: json }\n'),
    )
    agent = spawn(
      process.execPath,
      [join(CHECKOUT, 'bin/postern.mjs'), 'agent', 'start', '-c', file],
      {
        env: home.env,
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    )
    if (!agent.stderr) throw new Error('no stderr')
    const lines = createInterface(agent.stderr)
    lines.on('line', (line) => agentLog.push(JSON.parse(line) as Line))
    const [opened] = await Promise.all([
      lineOf(lines, /diagnostics\.listening/),
      lineOf(lines, /announce\.done/),
      lineOf(lines, /tunnel\.connected/),
    ])
    agentDiag = `http://127.0.0.1:${String((JSON.parse(opened) as Line)['port'])}`
    const done = await shell(`ssh -F '${dataDir}/ssh_config' ${node}-2 true`, {
      cwd: CHECKOUT,
      env: home.env,
    })
    expect(done).toMatchObject({ code: 0 })
  })
  afterAll(async () => {
    agent?.kill('SIGKILL')
    await running.stop()
    await home.remove()
  })

  test.each([
    ['up', () => diag],
    ['an agent', () => agentDiag],
  ])('promtool accepts the metrics of %s', async (_name, at) => {
    const answer = await fetch(`${at()}/metrics`)
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    const done = spawnSync(peer('promtool'), ['check', 'metrics'], { input: await answer.text() })
    expect(`${done.stdout.toString()}${done.stderr.toString()}`).toBe('')
    expect(done.status).toBe(0)
  })

  test('the proxy tells of its tunnels, streams, bytes, lease and policy', async () => {
    const text = await page(`${diag}/metrics`)
    expect(value(text, 'postern_proxy_tunnels{kind="agent"}')).toBe(2)
    expect(value(text, 'postern_proxy_streams_relayed_total{service="ssh"}')).toBe(1)
    expect(value(text, 'postern_proxy_tunnel_bytes_total{direction="in"}')).toBeGreaterThan(1000)
    expect(value(text, 'postern_proxy_lease_age_seconds')).toBeLessThan(20)
    expect(value(text, 'postern_proxy_policy_age_seconds')).toBeLessThan(60)
    expect(value(text, 'postern_proxy_state{state="serving"}')).toBe(1)
    expect(
      value(text, 'postern_api_requests_total{method="POST",route="/v1/join",status="200"}'),
    ).toBe(4) // two agents, a challenge and a join each
    expect(value(text, 'process_resident_memory_bytes')).toBeGreaterThan(10_000_000)
  })

  test('the agent tells of its service, its tunnel and its identity', async () => {
    const text = await page(`${agentDiag}/metrics`)
    expect(value(text, 'postern_agent_service_state{service="ssh",state="online"}')).toBe(1)
    expect(value(text, 'postern_agent_tunnels{service="ssh"}')).toBe(1)
    expect(value(text, 'postern_agent_streams_admitted_total{service="ssh"}')).toBe(1)
    const expires = value(text, 'postern_agent_identity_expires_seconds{service="ssh"}')
    expect(expires - Date.now() / 1000).toBeGreaterThan(23 * 3600)
  })

  test('both are ready and alive; nothing else is served there', async () => {
    for (const at of [diag, agentDiag]) {
      expect((await fetch(`${at}/readyz`)).status).toBe(200)
      expect((await fetch(`${at}/healthz`)).status).toBe(200)
      expect((await fetch(`${at}/v1/ping`)).status).toBe(404)
      expect((await fetch(`${at}/metrics`, { method: 'POST' })).status).toBe(405)
    }
    expect(await page(`${agentDiag}/readyz`)).toBe('{"ok":true,"services":{"ssh":"online"}}\n')
  })

  test('metrics are not on the public address', async () => {
    const run = await shell(`curl -sk -o /dev/null -w '%{http_code}' ${running.origin}/metrics`, {
      cwd: CHECKOUT,
      env: home.env,
    })
    expect(run.stdout).toBe('404')
  })

  test('one stream has one id in the proxy’s log, the agent’s log and the audit log', async () => {
    const relayed = (await log()).find((l) => l['event'] === 'proxy.stream_relayed')
    const admitted = agentLog.find((l) => l['event'] === 'stream.admitted')
    expect(relayed?.['stream']).toMatch(/^[\w-]{22}$/)
    expect(admitted?.['stream']).toBe(relayed?.['stream'])
    const events = await postern(['events', '--json', '--data-dir', dataDir], {
      cwd: CHECKOUT,
      env: home.env,
    })
    const audit = (JSON.parse(events.stdout) as { type: string; session?: string; fields: Line }[])
      .filter((e) => e.type === 'session.start')
      .find((e) => e.fields['stream'] === relayed?.['stream'])
    expect(audit?.session).toBe(admitted?.['session'])
  })
})
