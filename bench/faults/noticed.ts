/** How long the dead go unnoticed: processes that are stopped where they stand, so that their connections stay and nothing answers. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface, type Interface } from 'node:readline'
import type { Happened } from './tunnels.ts'

const IDLE = 60
const BUSY = 30
const BUSY_ROUNDS = 3
/** Longer than any of it should take, ms. */
const LIMIT = 90_000

export interface Noticed {
  /** Of tunnels without traffic, ms since the other end was stopped: the agent has another tunnel; the proxy has given the tunnel up. */
  readonly idleReplaced: readonly number[]
  readonly idleGivenUp: readonly number[]
  /** Of tunnels with traffic. */
  readonly suspect: readonly number[]
  readonly replaced: readonly number[]
}

interface Started {
  readonly child: ChildProcess
  readonly lines: Interface
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function until(done: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const began = performance.now(); !(await done()); await pause(20))
    if (performance.now() - began > LIMIT) throw new Error(`${what} did not happen`)
}

export async function noticed(world: string, children: ChildProcess[]): Promise<Noticed> {
  function start(script: string, ...args: string[]): Started {
    const file = new URL(script, import.meta.url).pathname
    const child = spawn(process.execPath, ['--import', 'tsx', file, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    children.push(child)
    return { child, lines: createInterface(child.stdout) }
  }
  async function proxy(): Promise<Started & { readonly port: string }> {
    const started = start('../swarm/proxy.ts', world, '0')
    const [port] = (await once(started.lines, 'line')) as [string]
    return { ...started, port }
  }
  const tunnelsOf = async ({ child, lines }: Started): Promise<number> => {
    const answer = once(lines, 'line')
    child.stdin?.write('\n')
    const [facts] = (await answer) as [string]
    return (JSON.parse(facts) as { agentTunnels: number }).agentTunnels
  }

  /** Agents with a tunnel each to `first`, and all that happens to them. */
  async function agents(
    ports: readonly string[],
    count: number,
    mode: 'idle' | 'busy',
    within: number,
  ): Promise<Started & { readonly seen: Happened[] }> {
    const started = start('./tunnels.ts', world, ports.join(), `${count}`, mode, `${within}`)
    const seen: Happened[] = []
    started.lines.on('line', (line) => seen.push(JSON.parse(line) as Happened))
    await until(() => seen.filter((h) => h.what === 'connected').length >= count, 'tunnels')
    return { ...started, seen }
  }

  /** Stops the proxy; for each tunnel that leads there, when what was asked for happened first. */
  async function stopped(
    { child, port }: Started & { readonly port: string },
    { seen }: { readonly seen: Happened[] },
  ): Promise<Record<'suspect' | 'connected', number[]>> {
    // On a busy machine some were late and went to the other proxy at once.
    const there = new Set(seen.filter((h) => h.port === port).map((h) => h.n))
    const from = seen.length
    const at = Date.now()
    child.kill('SIGSTOP')
    const first = (what: Happened['what']): number[] => {
      const times = new Map<number, number>()
      for (const h of seen.slice(from))
        if (h.what === what && there.has(h.n) && !times.has(h.n)) times.set(h.n, h.at - at)
      return [...times.values()]
    }
    await until(() => first('connected').length >= there.size, 'another tunnel for each')
    return { suspect: first('suspect'), connected: first('connected') }
  }

  /** An agent that is dead, as its proxy sees it. */
  async function deadAgents(): Promise<number[]> {
    const to = await proxy()
    const { child } = await agents([to.port], IDLE, 'idle', 15_000)
    const at = Date.now()
    child.kill('SIGSTOP')
    const times: number[] = []
    await until(async () => {
      const gone = IDLE - (await tunnelsOf(to))
      while (times.length < gone) times.push(Date.now() - at)
      return gone === IDLE
    }, 'the end of dead tunnels')
    return times
  }
  async function deadProxy(): Promise<number[]> {
    const [first, second] = [await proxy(), await proxy()]
    const idle = await agents([first.port, second.port], IDLE, 'idle', 15_000)
    return (await stopped(first, idle)).connected
  }
  const [idleGivenUp, idleReplaced] = await Promise.all([deadAgents(), deadProxy()])
  for (const child of children.splice(0)) child.kill('SIGKILL')

  const suspect: number[] = []
  const replaced: number[] = []
  for (let round = 0; round < BUSY_ROUNDS; round++) {
    const [first, second] = [await proxy(), await proxy()]
    const busy = await agents([first.port, second.port], BUSY, 'busy', 3_000)
    await pause(1_500)
    const times = await stopped(first, busy)
    suspect.push(...times.suspect)
    replaced.push(...times.connected)
    for (const child of children.splice(0)) child.kill('SIGKILL')
  }
  return { idleReplaced, idleGivenUp, suspect, replaced }
}
