/**
 * `npm run bench:join-methods`: what a join costs by method: latency of challenge and join together at the control plane, and DynamoDB
 * requests of a join and of a renewal. One process, file signer, embedded store on disk with synced writes; methods take turns, so
 * that a noisy minute hits all alike. What the machine does itself (keys, signatures, evidence) is outside the measured time; what
 * the control plane asks others for is inside, answered by a verifying STS and by issuers on loopback over HTTPS.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MessageChannel } from 'node:worker_threads'
import type { JoinPayload } from '../core/api/join.ts'
import { signV4 } from '../core/aws/sigv4.ts'
import { CONTEXT, prove } from '../core/certs/proof.ts'
import { generateKey, keySigner, type KeyPair } from '../core/certs/signer.ts'
import { iso, plus, seconds, systemClock } from '../core/clock.ts'
import { tokenSecretHash } from '../core/domain/token-secret.ts'
import type { JoinMethodName } from '../core/domain/join-method.ts'
import { CHALLENGE_HEADER, STS_BODY, STS_CONTENT_TYPE } from '../core/join/iam.ts'
import { encodeKey, signJoin, signRenewal } from '../core/join/messages.ts'
import { systemRandom } from '../core/random.ts'
import { embeddedClient, openEmbeddedStore } from '../functions/store/embedded/open.ts'
import { ensureTable, openStores } from '../functions/store/open.ts'
import { createLocalControlPlane } from '../functions/wiring.ts'
import { regionSigner } from '../test/fakes/instance-identity.ts'
import { fakeIssuers } from '../test/fakes/issuers.ts'
import { fakeSts } from '../test/fakes/sts.ts'
import { CASES } from '../test/support/id-token-cases.ts'
import { jwksOf } from '../test/support/id-tokens.ts'
import { save } from './support/rounds.ts'

const ROUNDS = 5
const JOINS = Number(process.env['BENCH_JOINS'] ?? 60)
const IN_FLIGHT = 8
const ORIGIN = 'https://bench.test'
const ACCOUNT = '123456789012'
const CREDENTIALS = {
  accessKeyId: 'AKIAEXAMPLEEXAMPLE00',
  secretAccessKey: 'of-the-bench',
  sessionToken: undefined,
}

const dir = mkdtempSync(join(tmpdir(), 'postern-bench-'))
const sts = await fakeSts(systemClock)
const arn = `arn:aws:iam::${ACCOUNT}:user/ci`
sts.principals.set(CREDENTIALS.accessKeyId, {
  secretAccessKey: CREDENTIALS.secretAccessKey,
  account: ACCOUNT,
  arn,
})
const issuers = await fakeIssuers([CASES.github.issuer, CASES.oidc.issuer])
const ireland = regionSigner('eu-west-1')

const engine = await openEmbeddedStore({ path: join(dir, 'store'), clock: systemClock })
const client = embeddedClient(engine)
await ensureTable(client, 'postern')
const count = { all: 0, writes: 0 }
client.middlewareStack.add(
  (next, context) => (args) => {
    count.all += 1
    if (/Write|Put|Update|Delete/.test(String(context['commandName']))) count.writes += 1
    return next(args)
  },
  { step: 'initialize' },
)
const plane = await createLocalControlPlane({
  dataDir: join(dir, 'data'),
  stores: openStores({
    client,
    tableName: 'postern',
    cursorKey: systemRandom.bytes(32),
    clock: systemClock,
    random: systemRandom,
  }),
  publicOrigins: () => [ORIGIN],
  proxies: () => ['bench.test:443'],
  aws: { sts: sts.at, iidKeys: [ireland.key] },
  issuers: { at: issuers.at },
})
const { operatorKey } = await plane.bootstrap({ user: 'bench', roles: ['editor'] })

let calls = 0
async function post(path: string, body: unknown): Promise<Record<string, string>> {
  // Each machine has an address of its own, as rate limits expect.
  const ip = `10.${(calls >> 16) & 255}.${(calls >> 8) & 255}.${calls++ & 255}`
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${operatorKey}` }
  const request = new Request(ORIGIN + path, {
    method: 'POST',
    headers,
    body: JSON.stringify(body),
  })
  const answer = await plane.fetch(request, { ip })
  if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`)
  return (await answer.json()) as Record<string, string>
}
const mint = (name: string, spec: object): Promise<Record<string, string>> =>
  post('/v1/tokens', {
    kind: 'token',
    version: 'v2',
    metadata: { name },
    spec: { roles: ['Node'], max_uses: null, ...spec },
  })

interface Machine {
  readonly method: JoinMethodName
  /** Handle of the token. */
  readonly token: string
  readonly evidence: (challenge: string) => unknown
}
let made = 0
const idToken = (method: 'github' | 'oidc' | 'kubernetes'): string => {
  const { issuer, claims, audience } = CASES[method]
  const aud = audience === 'test.internal' ? plane.cluster : audience
  return issuers.issue(issuer, { ...claims, aud, serial: ++made })
}
const bearer = (method: 'github' | 'oidc' | 'kubernetes') => async (): Promise<Machine> => {
  const id_token = idToken(method)
  return { method, token: method, evidence: () => ({ id_token }) }
}

const { secret = '' } = await mint('token', {})
const allow = [{ aws_account: ACCOUNT }]
await mint('iam', { join_method: 'iam', allow })
await mint('ec2', { join_method: 'ec2', allow })
for (const method of ['github', 'oidc', 'kubernetes'] as const)
  await mint(method, { join_method: method, [method]: CASES[method].block(jwksOf(issuers.key)) })

/** A machine of each method, with whatever it has before it asks. */
const METHODS: Readonly<Record<string, () => Promise<Machine>>> = {
  token: async () => ({
    method: 'token',
    token: tokenSecretHash(secret),
    evidence: () => ({ secret }),
  }),
  iam: async () => ({
    method: 'iam',
    token: 'iam',
    evidence(challenge) {
      const host = 'sts.eu-west-1.amazonaws.com'
      const headers = { 'content-type': STS_CONTENT_TYPE, [CHALLENGE_HEADER]: challenge }
      const call = { method: 'POST', host, path: '/', headers, body: STS_BODY }
      const scope = { region: 'eu-west-1', service: 'sts' }
      const signed = signV4(call, scope, CREDENTIALS, systemClock.now())
      return {
        url: `https://${host}/`,
        method: 'POST',
        headers: Object.entries(signed),
        body: STS_BODY,
      }
    },
  }),
  async ec2() {
    const rsa2048 = ireland.sign({
      accountId: ACCOUNT,
      region: 'eu-west-1',
      instanceId: `i-${(++made).toString(16).padStart(17, '0')}`,
      pendingTime: iso(plus(systemClock.now(), -60_000)).replace(/\.\d{3}/, ''),
    })
    return { method: 'ec2', token: 'ec2', evidence: () => ({ rsa2048 }) }
  },
  'kubernetes, static_jwks': bearer('kubernetes'),
  github: bearer('github'),
  oidc: bearer('oidc'),
  async bound_keypair() {
    const name = `bound-${++made}`
    const minted = await mint(name, { join_method: 'bound_keypair', bound_keypair: {} })
    const key = generateKey()
    return {
      method: 'bound_keypair',
      token: name,
      async evidence(challenge) {
        const signed = Buffer.from(challenge, 'ascii')
        const signature = await prove(CONTEXT.boundKeypair, keySigner(key.privateKey), signed)
        return {
          public_key: encodeKey(key.publicKey),
          signature: signature.toString('base64url'),
          registration_secret: minted['registration_secret'],
        }
      },
    }
  },
}

interface Joined {
  readonly ms: number
  readonly x509: string
  readonly key: KeyPair
}
async function enter(make: () => Promise<Machine>): Promise<Joined> {
  const { method, token, evidence } = await make()
  const [enrolment, service] = [generateKey(), generateKey()]
  const keys = {
    enrolment_key: encodeKey(enrolment.publicKey),
    service_key: encodeKey(service.publicKey),
  }
  const asked = systemClock.monotonic()
  const { challenge = '' } = await post('/v1/join/challenge', {
    method,
    token,
    service: 'ssh',
    ...keys,
  })
  const waited = systemClock.monotonic() - asked
  const payload: JoinPayload = {
    challenge,
    method,
    service: 'ssh',
    ...keys,
    node_name: `bench-${++made}`,
    evidence: await evidence(challenge),
  }
  const request = await signJoin(payload, {
    enrolment: keySigner(enrolment.privateKey),
    service: keySigner(service.privateKey),
  })
  const sent = systemClock.monotonic()
  const { x509 = '' } = await post('/v1/join', request)
  return { ms: waited + systemClock.monotonic() - sent, x509, key: service }
}
async function renew({ x509, key }: Joined): Promise<void> {
  const next = generateKey()
  const certificate = Buffer.from(x509.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  const payload = {
    cluster: plane.cluster,
    certificate: certificate.toString('base64url'),
    generation: 1,
    next_key: encodeKey(next.publicKey),
    renewal_id: `renewal-${++made}`,
    time: seconds(systemClock.now()),
  }
  const signers = { current: keySigner(key.privateKey), next: keySigner(next.privateKey) }
  await post('/v1/renew', await signRenewal(payload, signers))
}

// Timers of the clock keep no process alive; this does, until the end.
const { port1: alive } = new MessageChannel()
alive.on('message', () => undefined)

const waits = new Map<string, number[]>()
/** Requests of a join, of these writes; requests of a renewal, of these writes. */
const costs = new Map<string, readonly number[]>()
for (const [name, make] of Object.entries(METHODS)) {
  await enter(make) // keys of issuers are read once, as in a function that is warm
  // Mints of the token count as well: they are made first.
  const machine = await make()
  const before = { ...count }
  const joined = await enter(() => Promise.resolve(machine))
  const after = { ...count }
  await renew(joined)
  costs.set(name, [
    after.all - before.all,
    after.writes - before.writes,
    count.all - after.all,
    count.writes - after.writes,
  ])
  waits.set(name, [])
}
for (let round = 0; round < ROUNDS; round++)
  for (const [name, make] of Object.entries(METHODS))
    for (let i = 0; i < JOINS; i += IN_FLIGHT) {
      const machines = await Promise.all(Array.from({ length: IN_FLIGHT }, make))
      const joined = await Promise.all(machines.map((m) => enter(() => Promise.resolve(m))))
      waits.get(name)?.push(...joined.map(({ ms }) => ms))
    }

const rows = [...waits].flatMap(([name, all]) => {
  const sorted = all.sort((a, b) => a - b)
  const at = (q: number): number =>
    Number((sorted[Math.floor(sorted.length * q)] ?? NaN).toFixed(1))
  return [
    {
      figure: `${name}: p50 and p99`,
      unit: `ms, ${IN_FLIGHT} at once`,
      values: [at(0.5), at(0.99)],
    },
    {
      figure: `${name}: DynamoDB requests of a join, of these writes; of a renewal, of these writes`,
      values: costs.get(name) ?? [],
    },
  ]
})
console.table(rows)
save('join-methods', rows)
await plane.close()
for (const fake of [sts, issuers]) await fake.close()
client.destroy()
await engine.close()
alive.close()
rmSync(dir, { recursive: true, force: true })
