/**
 * `npm run bench:cores`: one proxy as one process against the same as two, interleaved: real processes of `postern serve`, four agents with
 * an app each, a local listener of `postern proxy app` for each. Agents and users run on the same machine, so each process of the proxy is
 * held to a part of a processor: it stands for a machine that is slower and has nothing else to do. Without control groups that can be
 * written, everything shares the processors, and the processor time of the busiest process is what tells. Users are spread over the
 * workers, as many would be by themselves: four that happen to land on one measure nothing but that. Everything is warm before it counts.
 * CORES_MIB (default 64) bytes of one run, BENCH_ROUNDS (default 5), CORES_PART (default 0.15) of a processor.
 */
import { once } from 'node:events'
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { BIN, lineOf } from '../test/integration/cli/postern.ts'
import { served, type Part, type Served, type ServedProxy } from '../test/support/served.ts'
import { compare, save, type Variant } from './support/rounds.ts'
import { throttle, unthrottle } from './support/throttle.ts'
import { cpuOfEach } from './tunnel/cpu.ts'
import { bulkDown, opens } from './tunnel/user.ts'

const BYTES = Number(process.env['CORES_MIB'] ?? 64) << 20
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 5)
const STREAMS = 8
const OPENS = 200
const APPS = ['app-1', 'app-2', 'app-3', 'app-4'] as const
/** Opens of each side before anything counts: a process that began a moment ago spends most of its time compiling. */
const WARM = 1_000
/** Tries to have a user land on the worker that he is meant for. */
const LANDINGS = 16
const PART = Number(process.env['CORES_PART'] ?? 0.15)

interface Side {
  readonly name: string
  readonly proxy: ServedProxy
  /** Where the users' listeners are, one for each app. */
  readonly ports: readonly number[]
}

async function agentOf(cluster: Served, app: string, target: string): Promise<Part> {
  const agent = await cluster.agent(`agent-${app}`, {
    type: 'app',
    services: {
      app_service: { enabled: true, apps: [{ name: app, uri: `tcp://127.0.0.1:${target}` }] },
    },
  })
  const met = () =>
    new Set([...agent.said().matchAll(/tunnel\.connected .*(px_\w+)/g)].map((m) => m[1])).size
  while (met() < 2) await lineOf(agent.log, /tunnel\.connected/)
  return agent
}

/** Users who know of one proxy alone. */
async function side(cluster: Served, name: string, proxy: ServedProxy): Promise<Side> {
  const profile = join(cluster.home.dir, name)
  await cp(join(cluster.dataDir, 'profile'), profile, { recursive: true })
  const file = join(profile, 'profile.json')
  const known = JSON.parse(await readFile(file, 'utf8')) as object
  await writeFile(file, JSON.stringify({ ...known, proxies: [proxy.address] }))
  const ports: number[] = []
  const where: (string | undefined)[] = []
  for (const [i, app] of APPS.entries()) {
    const args = [BIN, 'proxy', 'app', app, '--profile', profile, '--listen', '127.0.0.1:0']
    for (let landing = 1; ; landing++) {
      const child = cluster.launch(process.execPath, args)
      child.stderr?.resume()
      const lines = createInterface(child.stdout ?? process.stdin)
      const port = Number((await lineOf(lines, /^127\.0\.0\.1:\d+$/)).split(':')[1])
      const relayed = lineOf(proxy.log, /proxy\.stream_relayed/)
      await opens(port, 1, 1)
      const worker = /worker=(\d+)/.exec(await relayed)?.[1]
      const wanted = worker === undefined || worker === String(1 + (i % 2))
      if (wanted || landing === LANDINGS) {
        ports.push(port)
        where.push(worker)
        break
      }
      child.kill()
    }
  }
  process.stdout.write(`${name}: users at workers ${where.map((w) => w ?? '-').join(' ')}\n`)
  return { name, proxy, ports }
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

/** MB/s of all streams together. */
async function bulk({ ports }: Side): Promise<number> {
  const each = Math.ceil(BYTES / STREAMS)
  const began = performance.now()
  await Promise.all(
    Array.from({ length: STREAMS }, (_, i) => bulkDown(ports[i % ports.length] ?? 0, each)),
  )
  return (each * STREAMS) / 1e3 / (performance.now() - began)
}
async function busiest(at: Side): Promise<number> {
  const before = cpuOfEach(at.proxy.pid)
  await bulk(at)
  const after = cpuOfEach(at.proxy.pid)
  const spent = [...after].map(([pid, seconds]) => seconds - (before.get(pid) ?? 0))
  return Math.max(...spent) / (BYTES / 1e9)
}
async function allOfIt(at: Side): Promise<number> {
  const before = sum([...cpuOfEach(at.proxy.pid).values()])
  await bulk(at)
  return (sum([...cpuOfEach(at.proxy.pid).values()]) - before) / (BYTES / 1e9)
}
async function opened({ ports }: Side, count = OPENS): Promise<number> {
  const began = performance.now()
  await Promise.all(ports.map((port) => opens(port, count / ports.length, 8)))
  return count / ((performance.now() - began) / 1000)
}
/** Microseconds for each stream opened, of each process of the proxy. */
async function costOfOpen(at: Side): Promise<number[]> {
  const before = cpuOfEach(at.proxy.pid)
  await opened(at)
  const after = cpuOfEach(at.proxy.pid)
  return [...after].map(([pid, seconds]) => ((seconds - (before.get(pid) ?? 0)) * 1e6) / OPENS)
}

const cluster = await served()
try {
  const target = cluster.launch(process.execPath, [
    ...['--import', import.meta.resolve('tsx')],
    new URL('./tunnel/target.ts', import.meta.url).pathname,
  ])
  target.stderr?.resume()
  if (!target.stdout) throw new Error('no stdout')
  const [port] = (await once(target.stdout, 'data')) as [Buffer]
  const proxies = []
  for (const workers of [1, 2])
    proxies.push(await cluster.proxy(`proxy-${workers}`, { more: { workers } }))
  await cluster.knows(proxies.map((p) => p.address))
  for (const app of APPS) await agentOf(cluster, app, port.toString().trim())
  const [one, two] = proxies
  if (!one || !two) throw new Error('no proxies')
  const sides = [await side(cluster, 'two', two), await side(cluster, 'one', one)] as const
  for (const at of sides) await opened(at, WARM)
  const row = (figure: string, unit: string, target: string, run: (at: Side) => Promise<number>) =>
    compare(
      figure,
      unit,
      target,
      sides.map((at): Variant => ({
        name: at.name === 'two' ? 'two workers' : 'one process',
        run: () => run(at),
      })) as [Variant, Variant],
      ROUNDS,
    )
  const pids = proxies.flatMap((p) => [...cpuOfEach(p.pid).keys()])
  const held = throttle(pids, PART)
  process.stdout.write(
    held ? `each process of a proxy: ${PART} of a processor\n` : 'no control group: all share\n',
  )
  save('cores', [
    await row(`bulk down, ${STREAMS} streams`, 'MB/s', '≥ 1.4', bulk),
    await row('CPU of the busiest process of the proxy', 's/GB', '≤ 0.75', busiest),
    await row('CPU of the proxy, all processes', 's/GB', 'stated', allOfIt),
    // The ends sign, shake hands inside and write down for each stream, which takes this machine twenty times as long as the proxy: what
    // the proxy could do shows in its processor time alone. 0.67 of the busiest process is room for 1.5 times as many.
    await row('CPU of the busiest process, a stream opened', 'µs', '≤ 0.67', async (at) =>
      Math.max(...(await costOfOpen(at))),
    ),
    await row('CPU of all processes, a stream opened', 'µs', 'stated', async (at) =>
      sum(await costOfOpen(at)),
    ),
    await row('streams opened, 32 at a time', 'per s', 'stated', (at) => opened(at)),
  ])
  unthrottle(pids)
} finally {
  await cluster.close()
}
