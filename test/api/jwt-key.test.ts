/** Keys that a deployed cluster gets when somebody asks: that of JWTs, and the CA of database clients. Made in KMS, once. */
import { X509Certificate } from 'node:crypto'
import { KMSClient } from '@aws-sdk/client-kms'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { ensureDbClientCa, type DbClientCaDeps } from '../../functions/ca/db-client-ca.ts'
import { ensureJwtKey, type JwtKeyDeps } from '../../functions/ca/jwt-key.ts'
import { kmsKeyring } from '../../functions/signers/kms-keyring.ts'
import { publicJwk } from '../../functions/signers/public-cas.ts'
import { fakeKms, type FakeKms } from '../fakes/kms.ts'
import { systemRandom } from '../../core/random.ts'
import { recordingLog } from '../support/recording-log.ts'
import { openWorld, type World } from './support/world.ts'

let kms: FakeKms
let client: KMSClient
let world: World
let deps: JwtKeyDeps & DbClientCaDeps
const log = recordingLog()
beforeAll(async () => {
  kms = await fakeKms()
  client = new KMSClient({
    endpoint: kms.endpoint,
    region: 'eu-west-1',
    maxAttempts: 1,
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' },
  })
})
afterAll(async () => {
  client.destroy()
  await kms.close()
})
beforeEach(async () => {
  world = await openWorld()
  const keyring = kmsKeyring(client, world.plane.cluster, () => undefined)
  deps = { keyring, stores: world.plane.stores, clock: world.clock, random: systemRandom, log }
  return () => world.close()
})
const states = () => [...kms.keys.values()].map(({ state }) => state)

test('of three first uses at once one key stays, the others are given up', async () => {
  const before = kms.keys.size
  expect(await world.plane.stores.cas.jwtKey()).toBeUndefined()
  const made = await Promise.all([ensureJwtKey(deps), ensureJwtKey(deps), ensureJwtKey(deps)])
  const [{ ref, jwk } = { ref: '', jwk: {} }] = made
  expect(made.map((key) => key.ref)).toEqual([ref, ref, ref])
  expect(
    states()
      .slice(before)
      .filter((state) => state === 'Enabled'),
  ).toHaveLength(1)
  const held = kms.keys.get(ref)
  expect(held?.tags).toEqual({ 'postern-cluster': world.plane.cluster, 'postern-ca': 'jwt' })
  expect(held && publicJwk(held.publicKey)).toEqual(jwk)
})

test('later uses find it, and KMS is not asked', async () => {
  const first = await ensureJwtKey(deps)
  const calls = kms.calls.length
  expect(await ensureJwtKey(deps)).toEqual(first)
  expect(kms.calls.length).toBe(calls)
})

test('the row holds the public half and nothing else', async () => {
  await ensureJwtKey(deps)
  const row = (await world.rows()).find(({ entity }) => entity === 'jwtKey')
  expect(Object.keys(row ?? {}).sort()).toEqual([
    'created',
    'entity',
    'jwk',
    'pk',
    'ref',
    'sk',
    'v',
  ])
  expect(JSON.parse(row?.['jwk'] as string)).not.toHaveProperty('d')
})

test('the CA of database clients: one of three at once stays, a CA certificate that its own key signed', async () => {
  const before = kms.keys.size
  const ask = () => ensureDbClientCa(deps)
  const [made, ...others] = await Promise.all([ask(), ask(), ask()])
  expect(others).toEqual([made, made])
  expect(await ask()).toEqual(made)
  expect(
    states()
      .slice(before)
      .filter((state) => state === 'Enabled'),
  ).toHaveLength(1)
  const held = kms.keys.get(made.ref)
  expect(held?.tags).toEqual({ 'postern-cluster': world.plane.cluster, 'postern-ca': 'db_client' })
  const certificate = new X509Certificate(made.certificate)
  expect(certificate.ca).toBe(true)
  expect(held && certificate.verify(held.publicKey)).toBe(true)
  const row = (await world.rows()).find(({ entity }) => entity === 'dbClientCa')
  expect(Object.keys(row ?? {}).sort()).toEqual(
    ['certificate', 'created', 'entity', 'pk', 'ref', 'sk', 'v'].sort(),
  )
  // Nobody but database servers trusts it.
  expect(world.plane.caBundle.user.x509).not.toContain(made.certificate)
  expect(world.plane.caBundle.host.x509).not.toContain(made.certificate)
})

test('the log tells of it by its pin', () => {
  const made = log.entries.filter(({ event }) => event === 'jwt.key_made')
  // One for each cluster above.
  expect(made).toHaveLength(3)
  expect(made[0]?.fields).toEqual({ pin: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) as string })
})
