/**
 * Agents as far as their tunnels go: `tunnels.ts <world> <port,port> <count> idle|busy <ms>`. Each has an identity of its own and keeps one
 * tunnel as agents do: to the first of the ports that answers, to another when that one falls silent. They come one after another within
 * `ms`, so that their pings do not fall together. `busy`: each asks for a stream twenty times a second, and is told no. Prints a line
 * of JSON for all that happens to a tunnel, and when.
 */
import { createPrivateKey } from 'node:crypto'
import { agentUri } from '../../core/certs/identity.ts'
import { generateKey, keySigner } from '../../core/certs/signer.ts'
import { issueCertificate } from '../../core/certs/x509.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { plus, sleep, systemClock } from '../../core/clock.ts'
import { newId } from '../../core/ids.ts'
import { systemRandom } from '../../core/random.ts'
import type { OwnIdentity } from '../../core/tunnel/handshake.ts'
import { createWindowBudget } from '../../core/tunnel/window-budget.ts'
import { dialFirst } from '../../net/dial-first.ts'
import { keepConnected } from '../../net/reconnect.ts'
import { connectTunnel, type ConnectedTunnel } from '../../net/tunnel-client.ts'
import { caOf, CLUSTER, readWorld } from '../tunnel/world.ts'

/** What happened to tunnel `n`; `at` is the system's time in ms, the same for every process. */
export interface Happened {
  readonly n: number
  readonly what: 'connected' | 'suspect' | 'lost'
  readonly at: number
  /** Of the proxy, when a tunnel is connected. */
  readonly port?: string | undefined
}

const BETWEEN_ASKS = 50
const [path = '', ports = '', count = '0', mode = 'idle', within = '0'] = process.argv.slice(2)
const world = readWorld(path)
const ca = caOf(world)
const issuer = { certificate: ca, signer: keySigner(createPrivateKey(world.caKey)) }
const budget = createWindowBudget()
const now = systemClock.now()

async function makeIdentity(): Promise<OwnIdentity> {
  const keys = generateKey()
  const der = await issueCertificate({
    subject: 'bench',
    publicKey: keys.publicKey,
    issuer,
    notBefore: plus(now, -60_000),
    notAfter: plus(now, 6 * 3_600_000),
    uris: [agentUri(CLUSTER, newId('agent', now, systemRandom), 'app')],
    usage: ['client', 'server'],
  })
  return { certificate: readCertificate(der), signer: keySigner(keys.privateKey) }
}

function tell(n: number, what: Happened['what'], port?: string): void {
  const happened: Happened = { n, what, at: Date.now(), port }
  process.stdout.write(`${JSON.stringify(happened)}\n`)
}

function keep(n: number, identity: OwnIdentity): Promise<void> {
  let at: ConnectedTunnel | undefined
  const led = new WeakMap<ConnectedTunnel, string>()
  if (mode === 'busy')
    systemClock.every(BETWEEN_ASKS, () => {
      at?.session.open(Buffer.from('{}')).catch(() => undefined)
    })
  return keepConnected({
    connect: (attempt, hooks) =>
      dialFirst({
        addresses: ports.split(','),
        async dial(port, signal) {
          const tunnel = await connectTunnel({
            url: `wss://127.0.0.1:${port}`,
            trust: { system: false, ca: [world.ca] },
            cluster: CLUSTER,
            hostCas: [ca],
            identity,
            purpose: 'agent',
            budget,
            signal,
            onOpen: (stream) => stream.refuse('ERR_FORBIDDEN'),
            onGoAway: (ms) => hooks.onGoAway(ms),
            onClose: (e) => hooks.onClose(e),
            onSuspect(yes) {
              if (yes) tell(n, 'suspect')
              hooks.onSuspect(yes)
            },
          })
          led.set(tunnel, port)
          return tunnel
        },
        discard: (late) => late.session.close(),
        clock: systemClock,
        signal: attempt,
      }),
    clock: systemClock,
    random: systemRandom,
    signal: new AbortController().signal,
    onState(state) {
      if (state.state === 'connecting') return
      at = state.state === 'connected' ? state.tunnel : undefined
      tell(n, at ? 'connected' : 'lost', at && led.get(at))
    },
  })
}

const identities: OwnIdentity[] = []
for (let n = 0; n < Number(count); n++) identities.push(await makeIdentity())
for (const [n, identity] of identities.entries()) {
  void keep(n, identity)
  await sleep(systemClock, Number(within) / identities.length)
}
