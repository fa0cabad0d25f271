/**
 * Incidents of comparable systems around what proves who one is: certificates, renewals, sessions, keys at rest. Each as the attempt
 * that it was, made on us. Those of joining are in join-incidents, those of API keys and id tokens in incidents.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { identityOf } from '../../core/certs/identity.ts'
import { generateKey, keySigner, type KeyPair } from '../../core/certs/signer.ts'
import { issueCertificate } from '../../core/certs/x509.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { LIMITS } from '../../core/limits.ts'
import { plus } from '../../core/clock.ts'
import { systemRandom } from '../../core/random.ts'
import { encodeKey } from '../../core/join/messages.ts'
import { makeCa } from '../support/pki.ts'
import { challenge, joined, mint, tryJoin, tryRenew, type Joined } from './support/machine.ts'
import { joinBy, tokenFile } from './support/method-join.ts'
import {
  codeOf,
  itemsOf,
  openWorld,
  type Answer,
  type Signatory,
  type World,
} from './support/world.ts'

let world: World
let n = 0
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world.close())
beforeEach(() => void (n += 1))

const publicKey = (pair: KeyPair = generateKey()): string => encodeKey(pair.publicKey)
const machine = async (): Promise<Joined> =>
  joined(world, { secret: await mint(world), node: `node-${++n}` })
const uriOf = ({ certificate }: Signatory): string => certificate.uris[0] ?? ''

describe('CVE-2025-44005 (step-ca): whoever skipped a check gets no certificate', () => {
  const refused = (answer: Answer): void => {
    expect(answer.status, answer.text).toBeGreaterThanOrEqual(400)
    expect(answer.text).not.toMatch(/BEGIN CERTIFICATE|ssh-|ecdsa-/)
  }
  test('by a join without a challenge, without evidence, or with another join’s challenge', async () => {
    const secret = await mint(world, { max_uses: 9 })
    const node = `skip-${n}`
    const other = { enrolment: generateKey(), key: generateKey(), service: 'ssh' as const, secret }
    const foreign = await challenge(world, other)
    refused(await tryJoin(world, { secret, node, mutate: (p) => ({ ...p, challenge: '' }) }))
    refused(await tryJoin(world, { secret, node, mutate: (p) => ({ ...p, challenge: foreign }) }))
    refused(await tryJoin(world, { secret, node, mutate: (p) => ({ ...p, evidence: {} }) }))
    refused(await tryJoin(world, { secret, node, mutate: (p) => ({ ...p, evidence: undefined }) }))
    refused(await world.call('POST', '/v1/join', { body: {} }))
  })
  test('by a renewal without a join, or without a signature', async () => {
    const stranger = await makeCa('stranger', 'ES256', world.clock.now())
    const key = generateKey()
    const certificate = await forged(stranger, uriOf(await machine()), key)
    refused(await tryRenew(world, { certificate, signer: keySigner(key.privateKey) }, 1))
    const body = { payload: 'e30', current_signature: '', next_signature: '' }
    refused(await world.call('POST', '/v1/renew', { body }))
  })
  test('as a user, who did not sign in and has no right to', async () => {
    const body = { public_key: publicKey(), user: 'root-owner' }
    const { secret } = (
      await world.op('POST', '/v1/keys', {
        name: `narrow-${n}`,
        scopes: [{ resources: ['token'], verbs: ['create'] }],
      })
    ).body as { secret: string }
    const bearer = { authorization: `Bearer ${secret}` }
    refused(await world.call('POST', '/v1/certs', { body }))
    refused(await world.call('POST', '/v1/certs', { body, headers: bearer }))
    refused(await world.as(await machine(), 'POST', '/v1/certs', body))
    refused(await world.as(await world.proxy(), 'POST', '/v1/certs', body))
    const login = { user: 'root-owner', password: '', public_key: publicKey() }
    refused(await world.call('POST', '/v1/login/password', { body: login }))
  })
})

/** A certificate for a name of this cluster by a CA that is none of it. */
async function forged(ca: Awaited<ReturnType<typeof makeCa>>, uri: string, key: KeyPair) {
  const now = world.clock.now()
  const der = await issueCertificate(
    {
      subject: 'web-1',
      publicKey: key.publicKey,
      issuer: ca,
      notBefore: plus(now, -1000),
      notAfter: plus(now, 3_600_000),
      uris: [uri],
      usage: ['client'],
    },
    systemRandom,
  )
  return readCertificate(der)
}

describe('CVE-2024-1052 (Boundary): what was meant for one key serves no other,', () => {
  test('neither a name in a certificate of one’s own making', async () => {
    const victim = await machine()
    const ann = await world.user(`ann-${n}`, ['access', 'editor'])
    const stranger = await makeCa('postern host CA', 'ES256', world.clock.now())
    for (const of of [victim, ann]) {
      const key = generateKey()
      const certificate = await forged(stranger, uriOf(of), key)
      const thief = { certificate, signer: keySigner(key.privateKey) }
      expect((await world.as(thief, 'GET', '/v1/whoami')).status).toBe(401)
      expect((await world.as(of, 'GET', '/v1/whoami')).status).toBe(200)
    }
  })
  test('nor a certificate that was seen, with another key', async () => {
    const victim = await machine()
    const thief = { certificate: victim.certificate, signer: keySigner(generateKey().privateKey) }
    expect((await world.as(thief, 'GET', '/v1/whoami')).status).toBe(401)
    expect(codeOf(await tryRenew(world, thief, 1))).toBe('ERR_RENEWAL_REFUSED')
    // Nothing was locked by it: that would be a way to take an agent away.
    expect((await tryRenew(world, victim, 1)).status).toBe(200)
  })
  test('nor a join token that the first machine used', async () => {
    const secret = await mint(world)
    const first = await joined(world, { secret, node: `first-${n}` })
    expect(codeOf(await tryJoin(world, { secret, node: `thief-${n}` }))).toBe('ERR_JOIN_REFUSED')
    const again = { secret, node: `first-${n}`, enrolment: first.enrolment, key: first.key }
    expect((await joined(world, again)).agentId).toBe(first.agentId)
  })
})

test('CVE-2021-27098 (SPIRE): at a join, its repeat and a renewal the certificate is of the id and service that joined', async () => {
  const secret = await mint(world)
  const enrolment = generateKey()
  const key = generateKey()
  const node = `own-${n}`
  const first = await joined(world, { secret, node, enrolment, key })
  const again = await joined(world, { secret, node, enrolment, key })
  const app = await joined(world, { secret, node, enrolment, service: 'app' })
  const renewed = (await tryRenew(world, first, 1)).body as { x509: string }
  const who = { kind: 'agent', agentId: first.agentId }
  for (const certificate of [first.certificate, again.certificate, readCertificate(renewed.x509)])
    expect(identityOf(certificate)).toMatchObject({ ...who, service: 'ssh' })
  expect(identityOf(app.certificate)).toMatchObject({ ...who, service: 'app' })
})

describe('CVE-2023-37268, CVE-2023-48712 (Warpgate): a sign-in is of the one who proved it,', () => {
  const put = (name: string) =>
    world.op('PUT', `/v1/users/${name}`, {
      kind: 'user',
      version: 'v2',
      metadata: { name },
      spec: { roles: ['access'], traits: { logins: [name] }, password: `password of ${name}` },
    })
  test('whatever name was tried before with the same key', async () => {
    await put('carl')
    await put('dora')
    const key = publicKey()
    const login = (user: string, password: string) =>
      world.call('POST', '/v1/login/password', { body: { user, password, public_key: key } })
    expect(codeOf(await login('carl', 'password of dora'))).toBe('ERR_LOGIN_FAILED')
    const { x509 } = (await login('dora', 'password of dora')).body as { x509: string }
    expect(identityOf(readCertificate(x509))).toMatchObject({ user: 'dora', logins: ['dora'] })
  })
  test('and one name alone: a request that names two is not read', async () => {
    const raw = `{"user":"carl","user":"dora","password":"password of dora","public_key":"${publicKey()}"}`
    expect(codeOf(await world.call('POST', '/v1/login/password', { raw }))).toBe(
      'ERR_INPUT_INVALID',
    )
  })
})

test('CVE-2026-40575 (oauth2-proxy), CVE-2026-55430 (Coder): neither path nor host is what a header claims', async () => {
  const ann = await world.user(`ann-${n}`, ['access'])
  const claims = {
    'x-forwarded-uri': '/v1/ping',
    'x-original-url': '/v1/ping',
    'x-rewrite-url': '/v1/ping',
    'x-forwarded-host': 'evil.test',
    'x-forwarded-proto': 'http',
    forwarded: 'host=evil.test',
    'x-http-method-override': 'GET',
  }
  expect((await world.call('GET', '/v1/tokens', { headers: claims })).status).toBe(401)
  expect((await world.as(ann, 'GET', '/v1/whoami', undefined, claims)).status).toBe(200)
  const secret = await world.call('GET', '/.well-known/postern', { headers: claims })
  expect(secret.text).not.toContain('evil.test')
})

test('CVE-2024-39315 (Pomerium): an answer about the caller holds no credential', async () => {
  const key = await world.op('GET', '/v1/whoami')
  expect(key.text).not.toContain(world.operatorKey)
  expect(key.text).not.toContain(world.operatorKey.slice(-20))
  const ann = await world.user(`ann-${n}`, ['access'])
  const asUser = await world.as(ann, 'GET', '/v1/whoami')
  expect(asUser.text).not.toContain('eyJ')
})

/** Everything under a directory, with its mode. */
const files = (dir: string): { path: string; mode: number }[] =>
  readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .map((name) => join(dir, name))
    .filter((path) => statSync(path).isFile())
    .map((path) => ({ path, mode: statSync(path).mode & 0o777 }))

describe('CVE-2023-0690 (Boundary): secrets stay out of the table, after they were renewed and rotated too,', () => {
  test('each of them as what it was and in its usual encodings', async () => {
    const secrets: string[] = [world.operatorKey]
    const one = await mint(world, { name: `kept-${n}`, max_uses: 3 })
    secrets.push(one)
    const made = await world.op('POST', '/v1/keys', {
      name: 'kept',
      scopes: [{ resources: ['token'], verbs: ['list'] }],
    })
    secrets.push((made.body as { secret: string }).secret)
    const bound = tokenFile(`bound-${n}`, { join_method: 'bound_keypair' })
    const answer = (await world.op('POST', '/v1/tokens', bound)).body
    secrets.push((answer as { registration_secret: string }).registration_secret)
    // The secret may be seen again for a repeat of the same call, and lies sealed until then.
    const repeatable = { 'idempotency-key': 'once-and-again' }
    const minted = await world.op('POST', '/v1/tokens', { roles: ['Node'] }, repeatable)
    secrets.push((minted.body as { secret: string }).secret)
    const repeat = await world.op('POST', '/v1/tokens', { roles: ['Node'] }, repeatable)
    expect(repeat.body).toEqual(minted.body)
    await world.op('PUT', '/v1/users/keeper', {
      kind: 'user',
      version: 'v2',
      metadata: { name: 'keeper' },
      spec: { roles: ['access'], password: 'a password to be kept' },
    })
    secrets.push('a password to be kept')
    const agent = await joined(world, { secret: one, node: `kept-${n}` })
    expect((await tryRenew(world, agent, 1)).status).toBe(200)
    await joinBy(world, { method: 'iam', token: 'absent', evidence: () => ({}) })
    for (const kind of ['host', 'user', 'policy'])
      for (const phase of ['init', 'update_clients']) {
        world.clock.advance(LIMITS.caPhaseMin.value)
        await world.op('POST', `/v1/cas/${kind}/rotate`, { phase })
      }
    const table = JSON.stringify(await world.rows())
    expect(table.length).toBeGreaterThan(5000)
    expect(secrets.every((secret) => secret.length > 10)).toBe(true)
    for (const secret of secrets)
      for (const encoding of ['utf8', 'base64', 'base64url', 'hex'] as const)
        expect(table).not.toContain(Buffer.from(secret).toString(encoding).replaceAll('=', ''))
    // No private key in any encoding: PEM, JWK, and the beginning of every PKCS #8 or SEC1 key of our kinds.
    expect(table).not.toMatch(/PRIVATE KEY|"d":"|MIGHAgEA|MC4CAQAw|MHcCAQEE/)
    const events = JSON.stringify(itemsOf(await world.op('GET', '/v1/events?limit=100')))
    for (const secret of secrets) expect(events).not.toContain(secret)
  })
  test('and those on disk for their owner alone, the new ones like the first', () => {
    const keys = files(join(world.dir, 'data/ca'))
    expect(keys.length).toBeGreaterThan(5)
    expect(keys.filter(({ mode }) => mode !== 0o600)).toEqual([])
    const elsewhere = files(join(world.dir, 'data')).filter(({ path }) => !path.includes('/ca/'))
    for (const { path } of elsewhere) expect(readFileSync(path, 'utf8')).not.toMatch(/PRIVATE KEY/)
  })
})
