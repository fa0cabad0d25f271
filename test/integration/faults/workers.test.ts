// One proxy of several processes: tunnels and users meet whichever worker they land on, and a worker that dies takes nothing along.
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { finish, lineOf } from '../cli/postern.ts'
import { missing } from '../../support/peers.ts'
import { keepingShell } from '../../support/shells.ts'
import { served, type Part, type Served, type ServedProxy } from '../../support/served.ts'

describe.skipIf(missing('ssh'))('a proxy of two workers', () => {
  let cluster: Served
  let proxy: ServedProxy
  let diag: string
  let agent: Part

  const ssh = (...args: string[]): ChildProcess =>
    cluster.launch('ssh', ['-F', cluster.sshConfig, ...args])
  const shell = (n: number) => keepingShell(ssh('-tt', 'web-1'), n)
  /** Process ids of the workers that serve, by their number. */
  const workers = (of = proxy): Map<number, number> => {
    const alive = new Map<number, number>()
    for (const line of of.said().split('\n')) {
      const serving = /proxy\.worker_serving worker=(\d+) pid=(\d+)/.exec(line)
      const ended = /proxy\.worker_ended worker=(\d+)/.exec(line)
      if (serving) alive.set(Number(serving[1]), Number(serving[2]))
      if (ended) alive.delete(Number(ended[1]))
    }
    return alive
  }
  /** Workers that relayed a stream of a user. */
  const relayed = (): Set<number> =>
    new Set(
      [...proxy.said().matchAll(/proxy\.stream_relayed worker=(\d+)/g)].map((m) => Number(m[1])),
    )
  async function metric(series: string): Promise<number> {
    const text = await (await fetch(`${diag}/metrics`)).text()
    const line = text.split('\n').find((one) => one.startsWith(`${series} `))
    return Number(line?.slice(series.length))
  }

  beforeAll(async () => {
    cluster = await served()
    proxy = await cluster.proxy('proxy-1', {
      more: { workers: 2 },
      main: { diag_addr: '127.0.0.1:0' },
    })
    diag = `http://127.0.0.1:${/diagnostics\.listening.* port=(\d+)/.exec(proxy.said())?.[1] ?? ''}`
    await cluster.knows([proxy.address])
    agent = await cluster.agent('web-1', {
      type: 'node',
      services: { ssh_service: { enabled: true } },
    })
  })
  afterAll(() => cluster.close())

  test('two processes serve at one address, under one identity and one lease', async () => {
    expect(workers().size).toBe(2)
    expect(await metric('postern_proxy_workers')).toBe(2)
    expect(await metric('postern_proxy_live_proxies')).toBe(1)
    expect(await (await fetch(`${diag}/readyz`)).json()).toEqual({
      ok: true,
      state: 'serving',
      workers: 2,
      ready: 2,
    })
  })

  test('a user who lands on another worker than the agent is brought to it', async () => {
    let runs = 0
    while (relayed().size < 2) {
      runs += 1
      expect(await finish(ssh('web-1', 'echo $SSH_CONNECTION'))).toMatchObject({
        code: 0,
        stdout: expect.stringMatching(/^127\.0\.0\.1 /) as unknown,
      })
    }
    // The agent has one tunnel to this proxy, at one of the two workers.
    expect(await metric('postern_proxy_tunnels{kind="agent"}')).toBe(1)
    expect(await metric('postern_proxy_streams_relayed_total{service="ssh"}')).toBe(runs)
  })

  test('the sockets between workers are in a directory that nobody else can enter', async () => {
    const dir = join(cluster.home.dir, 'proxy-1', 'proxy', 'workers')
    expect((await stat(dir)).mode & 0o777).toBe(0o700)
    expect((await readdir(dir)).sort()).toEqual(
      [...workers().keys()].map((n) => `${n}.sock`).sort(),
    )
  })

  test('kill -9 of either worker loses no stream, and another takes its place', async () => {
    const shells = await Promise.all([1, 2, 3, 4].map(shell))
    const counted = await metric('postern_proxy_tunnels_opened_total{kind="user"}')
    for (const pid of [...workers().values()]) {
      const back = lineOf(proxy.log, /proxy\.worker_serving/)
      process.kill(pid, 'SIGKILL')
      await back
    }
    expect(workers().size).toBe(2)
    for (const open of shells) await open.ends()
    expect(await metric('postern_proxy_worker_restarts_total')).toBe(2)
    // What the dead ones counted is not lost with them.
    expect(await metric('postern_proxy_tunnels_opened_total{kind="user"}')).toBeGreaterThanOrEqual(
      counted,
    )
    expect(await finish(ssh('web-1', 'echo again'))).toMatchObject({ code: 0, stdout: 'again\n' })
  })

  test('SIGTERM under load, with another proxy to go to: no session, copy or new connection is lost', async () => {
    const second = await cluster.proxy('proxy-2', { more: { workers: 2 } })
    await cluster.knows([proxy.address, second.address])
    if (!agent.said().includes(`proxy=${second.id}`))
      await lineOf(agent.log, new RegExp(`tunnel\\.connected .*proxy=${second.id}`))
    const shells: Awaited<ReturnType<typeof shell>>[] = []
    while (shells.length < 2 || !second.said().includes('proxy.stream_relayed'))
      shells.push(await shell(shells.length))
    const [from, to] = ['original', 'copy'].map((name) => join(cluster.home.dir, name)) as [
      string,
      string,
    ]
    const content = randomBytes(8_000_000)
    await writeFile(from, content)
    // kbit/s: four seconds, so that it is under way while the proxy drains.
    const under = lineOf(agent.log, /stream\.admitted/)
    const limited = ['-F', cluster.sshConfig, '-l', '16000', from, `web-1:${to}`]
    const copy = finish(cluster.launch('scp', limited))
    await under
    const pids = [...workers(second).values()]
    second.signal('SIGTERM')
    let draining = true
    void second.exited.then(() => (draining = false))
    for (let n = 0; draining || n < 2; n++)
      expect(await finish(ssh('web-1', `echo ${n}`))).toEqual({
        code: 0,
        stdout: `${n}\n`,
        stderr: '',
      })
    expect(await second.exited).toBe(0)
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow(/ESRCH/)
    expect(await copy).toMatchObject({ code: 0, stderr: '' })
    expect((await readFile(to)).equals(content)).toBe(true)
    for (const open of shells) await open.ends()
  })

  test('SIGTERM with nowhere to go: what is open may end, and then every process is gone', async () => {
    const open = await shell(7)
    const pids = [...workers().values()]
    proxy.signal('SIGTERM')
    await Promise.all(pids.map(() => lineOf(proxy.log, /proxy\.draining worker=/)))
    expect((await fetch(`${diag}/readyz`)).status).toBe(503)
    await open.ends()
    expect(await proxy.exited).toBe(0)
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow(/ESRCH/)
  })
})
