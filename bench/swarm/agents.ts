/**
 * A part of the swarm: `agents.ts <world> <port> <count> paced|unpaced <first source> <sources>`. Each agent has an identity of its own, dials with
 * the real client, proves its key, and dials again when its tunnel falls: paced as agents do it, or at once. Prints how many
 * tunnels stand, whenever that changed and 50 ms have passed.
 */
import { createPrivateKey } from 'node:crypto'
import { agentUri } from '../../core/certs/identity.ts'
import { generateKey, keySigner } from '../../core/certs/signer.ts'
import { issueCertificate } from '../../core/certs/x509.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { plus, sleep, systemClock } from '../../core/clock.ts'
import { toAppError } from '../../core/errors.ts'
import { newId } from '../../core/ids.ts'
import { systemRandom } from '../../core/random.ts'
import type { OwnIdentity } from '../../core/tunnel/handshake.ts'
import { createWindowBudget } from '../../core/tunnel/window-budget.ts'
import { keepConnected, type ReconnectHooks } from '../../net/reconnect.ts'
import { connectTunnel, type ConnectedTunnel } from '../../net/tunnel-client.ts'
import { stayAwake } from '../../net/stay-awake.ts'
import { caOf, CLUSTER, readWorld } from '../tunnel/world.ts'
import { comeFrom } from './sources.ts'

const [path = '', port = '', count = '0', pace = 'paced', first = '1', sources = '1'] =
  process.argv.slice(2)
stayAwake()
comeFrom(Number(sources), Number(first))
const world = readWorld(path)
const ca = caOf(world)
const issuer = { certificate: ca, signer: keySigner(createPrivateKey(world.caKey)) }
const budget = createWindowBudget()
const trust = { system: false, ca: [world.ca] }
const now = systemClock.now()
let up = 0
let said = -1

async function makeIdentity(): Promise<OwnIdentity> {
  const keys = generateKey()
  const der = await issueCertificate({
    subject: 'swarm',
    publicKey: keys.publicKey,
    issuer,
    notBefore: plus(now, -60_000),
    notAfter: plus(now, 6 * 3_600_000),
    uris: [agentUri(CLUSTER, newId('agent', now, systemRandom), 'app')],
    usage: ['client', 'server'],
  })
  return { certificate: readCertificate(der), signer: keySigner(keys.privateKey) }
}

/**
 * Dials of this process at once. Thousands of agents have thousands of processors; here they share one, and if it begins all of them
 * none is done before its deadline. A few processes of this many still ask the proxy for more than it takes at a time.
 */
const AT_ONCE = 256
let dialling = 0
const waiting: (() => void)[] = []

async function dial(identity: OwnIdentity, hooks: ReconnectHooks, signal: AbortSignal) {
  if (dialling >= AT_ONCE) await new Promise<void>((go) => waiting.push(go))
  else dialling += 1
  try {
    return await connect(identity, hooks, signal)
  } finally {
    const next = waiting.shift()
    if (next) next()
    else dialling -= 1
  }
}

const connect = (identity: OwnIdentity, hooks: ReconnectHooks, signal: AbortSignal) =>
  connectTunnel({
    url: `wss://127.0.0.1:${port}`,
    trust,
    cluster: CLUSTER,
    hostCas: [ca],
    identity,
    purpose: 'agent',
    budget,
    signal,
    onOpen: (stream) => stream.refuse('ERR_FORBIDDEN'),
    onClose: (e) => hooks.onClose(e),
    onGoAway: (ms) => hooks.onGoAway(ms),
  })

/** As an agent does. */
async function paced(identity: OwnIdentity): Promise<void> {
  let counted = false
  await keepConnected({
    connect: (signal, hooks) => dial(identity, hooks, signal),
    clock: systemClock,
    random: systemRandom,
    signal: new AbortController().signal,
    onState({ state }) {
      if (state === 'connected') up += 1
      else if (counted) up -= 1
      counted = state === 'connected'
    },
  })
}

/** Without manners: again at once, or 100 ms after a refusal. */
async function unpaced(identity: OwnIdentity): Promise<void> {
  for (;;) {
    let fell: () => void = () => undefined
    const over = new Promise<void>((resolve) => (fell = resolve))
    const hooks = { onClose: () => fell(), onGoAway: () => undefined, onSuspect: () => undefined }
    const tunnel: ConnectedTunnel | undefined = await dial(
      identity,
      hooks,
      new AbortController().signal,
    ).catch((e: unknown) => void toAppError(e))
    if (!tunnel) {
      await sleep(systemClock, 100 + systemRandom.float() * 100)
      continue
    }
    up += 1
    await over
    up -= 1
  }
}

const identities: OwnIdentity[] = []
for (let i = 0; i < Number(count); i++) identities.push(await makeIdentity())
process.stdout.write('ready\n')
systemClock.every(50, () => {
  if (up !== said) process.stdout.write(`${(said = up)}\n`)
})
// The first time they come in a row: it is the return that is measured.
for (const identity of identities) {
  void (pace === 'paced' ? paced(identity) : unpaced(identity))
  await sleep(systemClock, 1)
}
