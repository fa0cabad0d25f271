/**
 * Streams over tunnels that break, through everything: an agent with tunnels to two proxies, a user at a local listener of
 * `postern proxy app`, an echo behind the agent. Each proxy is behind a relay that resets or swallows.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { BIN, lineOf } from '../../test/integration/cli/postern.ts'
import { chaosRelay, type ChaosRelay } from '../../test/support/chaos-relay.ts'
import { served, type Part, type ServedProxy } from '../../test/support/served.ts'

const BLOCK = 65_536
const NAMES = ['proxy-1', 'proxy-2'] as const
/** Longer than a round takes, whatever happens in it, ms. */
const LIMIT = 120_000

export const FAULTS = ['none', 'reset', 'kill -9', 'blackhole'] as const
export type Fault = (typeof FAULTS)[number]

export interface Round {
  readonly fault: Fault
  /** Longest time without a byte for the user, from the fault on; without a fault, of all of it. Ms. */
  readonly stall: number
  /** Every byte came back, in order. */
  readonly whole: boolean
}

interface Way {
  readonly relay: ChaosRelay
  proxy: ServedProxy
}

const random = randomBytes(1 << 20)

/** Sends `total` bytes and reads them back; calls `half` when half of them are back. */
async function thereAndBack(
  port: number,
  total: number,
  half: () => void,
): Promise<Omit<Round, 'fault'>> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  socket.write('e')
  const [sent, got] = [createHash('sha256'), createHash('sha256')]
  let back = 0
  let stall = 0
  let last = performance.now()
  socket.on('data', (bytes: Buffer) => {
    const now = performance.now()
    stall = Math.max(stall, now - last)
    last = now
    got.update(bytes)
    const before = back
    back += bytes.length
    if (before >= total / 2 || back < total / 2) return
    stall = 0
    half()
  })
  const ended = once(socket, 'end', { signal: AbortSignal.timeout(LIMIT) })
  for (let at = 0; at < total; at += BLOCK) {
    const from = (at * 7) % (random.length - BLOCK)
    const block = random.subarray(from, from + BLOCK)
    sent.update(block)
    if (!socket.write(block)) await Promise.race([once(socket, 'drain'), ended])
  }
  socket.end()
  await ended
  return { stall, whole: back === total && sent.digest('hex') === got.digest('hex') }
}

/** `plan`: the faults, one after another. */
export async function resumed(
  plan: readonly Fault[],
  bytes: number,
  target: string,
  done: (round: Round) => void,
): Promise<void> {
  const cluster = await served()
  const ways: Way[] = []
  try {
    for (const name of NAMES) {
      let own = 0
      const relay = await chaosRelay(() => own)
      const proxy = await cluster.proxy(name, {
        more: { public_addr: `127.0.0.1:${relay.port}` },
      })
      own = Number(proxy.address.split(':')[1])
      ways.push({ relay, proxy })
    }
    await cluster.knows(ways.map(({ relay }) => `127.0.0.1:${relay.port}`))
    const agent = await cluster.agent('app-1', {
      type: 'app',
      services: {
        app_service: { enabled: true, apps: [{ name: 'echo', uri: `tcp://127.0.0.1:${target}` }] },
      },
    })
    await tunnels(agent, ways, 0)
    const listener = cluster.launch(process.execPath, [
      ...[BIN, 'proxy', 'app', 'echo', '--profile', join(cluster.dataDir, 'profile')],
    ])
    const lines = createInterface(listener.stdout ?? process.stdin)
    const port = Number((await lineOf(lines, /^127\.0\.0\.1:\d+$/)).split(':')[1])
    // The first finds routes and grows windows.
    await thereAndBack(port, bytes, () => undefined)
    for (const fault of plan) {
      const before = ways.map(({ relay }) => relay.passed)
      let said = 0
      let struck: readonly Way[] = []
      const result = await thereAndBack(port, bytes, () => {
        said = agent.said().length
        const grown = ways.map((way, i) => way.relay.passed - (before[i] ?? 0))
        const busy = ways.filter((_, i) => grown[i] === Math.max(...grown))
        struck = fault === 'reset' ? ways : fault === 'none' ? [] : busy
        for (const way of struck) strike(fault, way)
      })
      done({ fault, ...result })
      for (const way of struck) await mend(fault, way)
      await tunnels(agent, struck, said)
    }

    function strike(fault: Fault, { relay, proxy }: Way): void {
      if (fault === 'reset') relay.cut()
      if (fault === 'kill -9') proxy.signal('SIGKILL')
      if (fault === 'blackhole') relay.blackhole(true)
    }
    async function mend(fault: Fault, way: Way): Promise<void> {
      if (fault === 'blackhole') way.relay.blackhole(false)
      if (fault !== 'kill -9') return
      await way.proxy.exited
      const more = { public_addr: `127.0.0.1:${way.relay.port}` }
      way.proxy = await cluster.proxy(way.proxy.name, { more })
    }
  } finally {
    await cluster.close()
    for (const { relay } of ways) await relay.close()
  }
}

/** Resolves when the agent has said, from there on, that it has a tunnel to each. */
async function tunnels(agent: Part, ways: readonly Way[], from: number): Promise<void> {
  const stands = ({ proxy }: Way): boolean =>
    agent
      .said()
      .slice(from)
      .split('\n')
      .some((line) => line.includes('tunnel.connected') && line.includes(proxy.id))
  while (!ways.every(stands)) await lineOf(agent.log, /tunnel\.connected/)
}
