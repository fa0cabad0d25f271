/**
 * `ca_pin` where TLS ends with a certificate of a public CA, as at managed API endpoints and load balancers: real agent processes and a
 * front whose certificate their machine trusts. The front sees every byte that the agent sends, which is what these tests are about.
 */
import { createPrivateKey } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { keySigner } from '../../../core/certs/signer.ts'
import { systemClock } from '../../../core/clock.ts'
import { joinKeyOf, openRequest, signJoinKey } from '../../../core/join/sealed-call.ts'
import { systemRandom } from '../../../core/random.ts'
import { makeCa } from '../../support/pki.ts'
import { publicFront, type FrontAnswer, type PublicFront } from '../../support/public-front.ts'
import { openGate, type Gate } from '../agent/gate.ts'
import { BIN, CHECKOUT, finish, start } from '../cli/postern.ts'

const json = (value: unknown): Response => Response.json(value)

let gate: Gate
let front: PublicFront
let address: string
const honestly: FrontAnswer = (_call, honest) => honest()

beforeAll(async () => {
  front = await publicFront(() => gate.cluster.plane)
  address = front.address
  gate = await openGate({ publicAddress: () => address })
  writeFileSync(join(gate.dir, 'public-ca.pem'), front.ca)
})
afterAll(async () => {
  front.close()
  await gate.close()
})
afterEach(() => {
  front.answer = honestly
  front.seen.length = 0
})

/** The discovery document names the front as the API, as it does where the gateway is in front of everything. */
const asApi =
  (then: FrontAnswer = honestly): FrontAnswer =>
  async (call, honest) =>
    call === 'GET /.well-known/postern'
      ? json({
          cluster: gate.cluster.plane.cluster,
          api: `https://${address}`,
          proxies: [address],
          ca_pins: [],
        })
      : then(call, honest)

/** An agent process with a token's secret; resolves with what it said when it joined, or ended, or gave up for now. */
async function run(name: string, pin: string | undefined, secret: string) {
  const file = join(gate.dir, `${name}.yaml`)
  const dataDir = join(gate.dir, name)
  const yaml = gate.yaml({ nodename: name, dataDir, token: secret, pins: false })
  const at = yaml.replace(
    /proxy_server: .*/,
    `proxy_server: ${address}${pin === undefined ? '' : `\n  ca_pin: ${pin}`}`,
  )
  writeFileSync(file, at)
  const child = start(process.execPath, [BIN, 'agent', 'start', '-c', file], {
    cwd: CHECKOUT,
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: gate.dir,
      NODE_EXTRA_CA_CERTS: join(gate.dir, 'public-ca.pem'),
    },
  })
  let said = ''
  const done = finish(child)
  await new Promise<void>((resolve) => {
    child.stderr?.on('data', (piece: Buffer) => {
      said += piece.toString()
      if (/agent\.joined|service\.failed|join\.retry/.test(said)) resolve()
    })
    void done.then(() => resolve())
  })
  child.kill('SIGTERM')
  await done
  return { said, dataDir }
}
const pinOf = (): string => gate.cluster.plane.caPins[0] ?? ''
/** Everything that the front saw, and what it can read of it: payloads are base64url of JSON. */
function readable(): string {
  const text = front.seen
    .map(({ call, headers, body }) => `${call}\n${headers}\n${body}`)
    .join('\n')
  const decoded = [...text.matchAll(/[A-Za-z0-9_-]{24,}/g)].map(([word]) =>
    Buffer.from(word, 'base64url').toString('latin1'),
  )
  return [text, ...decoded].join('\n')
}
const calls = (): string[] => front.seen.map(({ call }) => call)

test('behind a public certificate an agent with the pin joins, and whoever ends TLS cannot read the secret', async () => {
  front.answer = asApi()
  const secret = await gate.mint()
  const { said } = await run('public-1', pinOf(), secret)
  expect(said).toContain('agent.joined')
  expect(calls()).toContain('POST /v1/join')
  expect(readable()).not.toContain(secret)
  // The front can read what is not sealed, so the absence above says something.
  expect(readable()).toContain('enrolment_key')
})

test('without a pin the public certificate is enough, and the secret is in the clear behind it', async () => {
  front.answer = asApi()
  const secret = await gate.mint()
  const { said } = await run('public-2', undefined, secret)
  expect(said).toContain('agent.joined')
  expect(readable()).toContain(secret)
})

// A relay with a valid certificate for the name, another cluster behind it.
test('a front that cannot prove the pinned CA gets no secret, no evidence, not even a join', async () => {
  const other = await makeCa('host', 'ES256', systemClock.now())
  const theirs = joinKeyOf(systemRandom.bytes(32))
  const { cluster } = gate.cluster.plane
  front.answer = asApi(async (call, honest) =>
    call === 'GET /v1/join/key'
      ? json({
          join_key: await signJoinKey(other.signer, theirs, { cluster, now: systemClock.now() }),
        })
      : honest(),
  )
  const secret = await gate.mint()
  const { said } = await run('public-3', pinOf(), secret)
  expect(said).toContain('ERR_CA_PIN_MISMATCH')
  expect(readable()).not.toContain(secret)
  expect(calls()).not.toContain('POST /v1/join')
  // It was not used up either.
  front.answer = asApi()
  expect((await run('public-4', pinOf(), secret)).said).toContain('agent.joined')
})

test('an agent of the cluster cannot vouch for a join key with its own certificate', async () => {
  front.answer = asApi()
  const joined = await run('public-5', pinOf(), await gate.mint())
  const { key } = JSON.parse(readFileSync(join(joined.dataDir, 'app/identity.json'), 'utf8')) as {
    key: string
  }
  const mine = joinKeyOf(systemRandom.bytes(32))
  const of = { cluster: gate.cluster.plane.cluster, now: systemClock.now() }
  front.answer = asApi(async (call, honest) =>
    call === 'GET /v1/join/key'
      ? json({ join_key: await signJoinKey(keySigner(createPrivateKey(key)), mine, of) })
      : honest(),
  )
  const secret = await gate.mint()
  const { said } = await run('public-6', pinOf(), secret)
  expect(said).toContain('ERR_CA_PIN_MISMATCH')
  expect(readable()).not.toContain(secret)
})

// The relay passes the join on and puts its own policy key and user CA into the answer.
test.each([
  ['in the clear', () => json({ cluster: 'x', policy_keys: [], user_ca: {} })],
  [
    'sealed to the key that the agent does not know',
    () => json({ sealed: 'e30.AA.AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA' }),
  ],
])('an answer %s is not taken for the cluster’s', async (_what, bent) => {
  let passedOn = 0
  front.answer = asApi(async (call, honest) => {
    if (call !== 'POST /v1/join') return honest()
    passedOn += 1
    await honest()
    return bent()
  })
  const { said } = await run(`bent-${_what.length}`, pinOf(), await gate.mint())
  expect(passedOn).toBeGreaterThan(0)
  expect(said).toContain('ERR_CA_PIN_MISMATCH')
})

test('what was sealed for a join opens for nobody else', async () => {
  front.answer = asApi()
  await run('public-7', pinOf(), await gate.mint())
  const sent = front.seen.find(({ call }) => call === 'POST /v1/join')?.body ?? '{}'
  const call = JSON.parse(sent) as { sealed: string }
  const mine = joinKeyOf(systemRandom.bytes(32))
  await expect(openRequest(mine, call, '/v1/join')).rejects.toMatchObject({
    code: 'ERR_INPUT_INVALID',
  })
  // Nor as another call of the cluster itself.
  const moved = await gate.cluster.plane.fetch(
    new Request(`https://${address}/v1/renew`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(call),
    }),
    { ip: '192.0.2.8' },
  )
  expect(moved.status).toBe(400)
})
