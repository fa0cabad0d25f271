/**
 * The proxy process of the storm: the whole proxy behind the listener of the command, its leases and rows in memory.
 * `proxy.ts <world> <port>`; each line on stdin is answered with a line of JSON on stdout.
 */
import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'
import { FRESHNESS_TYP, POLICY_TYP } from '../../core/api/policy.ts'
import { jwsSign } from '../../core/certs/jws.ts'
import { keySigner, generateKey } from '../../core/certs/signer.ts'
import { seconds, systemClock } from '../../core/clock.ts'
import type { Policy } from '../../core/domain/policy.ts'
import { silentLog } from '../../core/log.ts'
import { systemRandom } from '../../core/random.ts'
import { createProxy } from '../../proxy/proxy.ts'
import { openListener } from '../../cli/up/listener.ts'
import { memoryPresence } from '../../test/fakes/presence.ts'
import { caOf, CLUSTER, identity, readWorld } from '../tunnel/world.ts'

const [path = '', port = '0'] = process.argv.slice(2)
const world = readWorld(path)
const ca = caOf(world)
const policyKey = keySigner(generateKey().privateKey)
const policy: Policy = {
  cluster: CLUSTER,
  version: 1,
  issued: seconds(systemClock.now()),
  expires: seconds(systemClock.now()) + 86_400,
  roles: [],
  users: {},
  locks: [],
  cas: {
    host: { x509: [world.ca], ssh: [] },
    user: { x509: [world.ca], ssh: [] },
    policy: [policyKey.publicKey.export({ format: 'jwk' }) as { kty: string }],
  },
}
const digest = createHash('sha256').update(JSON.stringify(policy)).digest('base64url')
const freshness = () =>
  jwsSign(
    policyKey,
    { typ: FRESHNESS_TYP },
    { cluster: CLUSTER, version: 1, digest, issued: seconds(systemClock.now()) },
  )
const presence = memoryPresence()
let address = ''
/** Requests to the control plane. */
let asked = 0
const own = identity(world.proxy)
const proxy = createProxy({
  cluster: CLUSTER,
  identity: () => own,
  hostCas: () => [ca],
  userCas: () => [ca],
  policyKeys: () => [policyKey.publicKey],
  presence,
  publicAddresses: () => [address],
  policy: {
    async policy() {
      asked += 1
      return {
        policy: await jwsSign(policyKey, { typ: POLICY_TYP }, policy),
        freshness: await freshness(),
      }
    },
    freshness() {
      asked += 1
      return freshness()
    },
  },
  clock: systemClock,
  random: systemRandom,
  log: silentLog,
})
const listener = await openListener(
  { host: '127.0.0.1', port: Number(port) },
  { key: world.tls.key, chain: `${world.tls.cert}${world.ca}` },
  {
    fetch: () => Promise.resolve(new Response('', { status: 404 })),
    handleRequest: (request, response) => proxy.handleRequest(request, response),
    handleUpgrade: (request, socket, head) => proxy.handleUpgrade(request, socket, head),
  },
)
address = `127.0.0.1:${listener.port}`
await proxy.start()
const began = process.cpuUsage()
createInterface(process.stdin).on('line', () => {
  globalThis.gc?.()
  const { agentTunnels, upgradesRefused, handshakesRefused } = proxy.stats()
  const cpu = process.cpuUsage(began)
  const { heapUsed, external } = process.memoryUsage()
  const facts = {
    agentTunnels,
    upgradesRefused,
    handshakesRefused,
    asked,
    rows: presence.writes.length,
    cpu: (cpu.user + cpu.system) / 1e6,
    heapUsed,
    external,
  }
  process.stdout.write(`${JSON.stringify(facts)}\n`)
})
process.stdout.write(`${listener.port}\n`)
