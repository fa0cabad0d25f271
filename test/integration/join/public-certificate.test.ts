/**
 * `ca_pin` where TLS ends with a certificate of a public CA, as at managed API endpoints and load balancers: real agent processes and a
 * front whose certificate their machine trusts. The front sees every byte that the agent sends, which is what these tests are about.
 */
import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { keySigner } from '../../../core/certs/signer.ts'
import { systemClock } from '../../../core/clock.ts'
import { joinKeyOf, openRequest, signJoinKey } from '../../../core/join/sealed-call.ts'
import { systemRandom } from '../../../core/random.ts'
import { makeCa } from '../../support/pki.ts'
import { serverTls } from '../../support/tls.ts'
import { openGate, type Gate } from '../agent/gate.ts'
import { BIN, CHECKOUT, finish, start } from '../cli/postern.ts'

interface Seen {
  readonly call: string
  readonly body: string
}
type Answer = (call: string, body: string, honest: () => Promise<Response>) => Promise<Response>
const json = (value: unknown): Response => Response.json(value)

let gate: Gate
let front: Server
let address: string
const seen: Seen[] = []
const honestly: Answer = (_call, _body, honest) => honest()
let answer = honestly

beforeAll(async () => {
  const tls = await serverTls()
  front = createServer(tls.options, (req, res) => {
    void (async () => {
      const parts: Buffer[] = []
      for await (const part of req as AsyncIterable<Buffer>) parts.push(part)
      const body = Buffer.concat(parts).toString('utf8')
      const call = `${req.method ?? ''} ${req.url ?? ''}`
      seen.push({ call, body: `${JSON.stringify(req.headers)}\n${body}` })
      const honest = () =>
        gate.cluster.plane.fetch(
          new Request(`https://${address}${req.url ?? ''}`, {
            method: req.method ?? 'GET',
            headers: Object.entries(req.headers).filter(
              (e): e is [string, string] => typeof e[1] === 'string' && e[0] !== 'connection',
            ),
            ...(body === '' ? {} : { body }),
          }),
          { ip: '192.0.2.7' },
        )
      const given = await answer(call, body, honest)
      res.writeHead(given.status, Object.fromEntries(given.headers))
      res.end(Buffer.from(await given.arrayBuffer()))
    })().catch((e: unknown) => res.destroy(e as Error))
  })
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  address = `127.0.0.1:${(front.address() as AddressInfo).port}`
  gate = await openGate({ publicAddress: () => address })
  writeFileSync(join(gate.dir, 'public-ca.pem'), tls.ca)
})
afterAll(async () => {
  front.closeAllConnections()
  front.close()
  await gate.close()
})
afterEach(() => {
  answer = honestly
  seen.length = 0
})

/** The discovery document names the front as the API, as it does where the gateway is in front of everything. */
const asApi =
  (then: Answer = honestly): Answer =>
  async (call, body, honest) =>
    call === 'GET /.well-known/postern'
      ? json({
          cluster: gate.cluster.plane.cluster,
          api: `https://${address}`,
          proxies: [address],
          ca_pins: [],
        })
      : then(call, body, honest)

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
  const text = seen.map(({ call, body }) => `${call}\n${body}`).join('\n')
  const decoded = [...text.matchAll(/[A-Za-z0-9_-]{24,}/g)].map(([word]) =>
    Buffer.from(word, 'base64url').toString('latin1'),
  )
  return [text, ...decoded].join('\n')
}
const calls = (): string[] => seen.map(({ call }) => call)

test('behind a public certificate an agent with the pin joins, and whoever ends TLS cannot read the secret', async () => {
  answer = asApi()
  const secret = await gate.mint()
  const { said } = await run('public-1', pinOf(), secret)
  expect(said).toContain('agent.joined')
  expect(calls()).toContain('POST /v1/join')
  expect(readable()).not.toContain(secret)
  // The front can read what is not sealed, so the absence above says something.
  expect(readable()).toContain('enrolment_key')
})

test('without a pin the public certificate is enough, and the secret is in the clear behind it', async () => {
  answer = asApi()
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
  answer = asApi(async (call, _body, honest) =>
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
  answer = asApi()
  expect((await run('public-4', pinOf(), secret)).said).toContain('agent.joined')
})

test('an agent of the cluster cannot vouch for a join key with its own certificate', async () => {
  answer = asApi()
  const joined = await run('public-5', pinOf(), await gate.mint())
  const { key } = JSON.parse(readFileSync(join(joined.dataDir, 'app/identity.json'), 'utf8')) as {
    key: string
  }
  const mine = joinKeyOf(systemRandom.bytes(32))
  const of = { cluster: gate.cluster.plane.cluster, now: systemClock.now() }
  answer = asApi(async (call, _body, honest) =>
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
  answer = asApi(async (call, _body, honest) => {
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
  answer = asApi()
  await run('public-7', pinOf(), await gate.mint())
  const sent = seen.find(({ call }) => call === 'POST /v1/join')?.body.split('\n')[1] ?? '{}'
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
