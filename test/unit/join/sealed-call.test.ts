/** Sealed calls: who can open them, and what is refused. */
import { expect, test } from 'vitest'
import { jwsSign } from '../../../core/certs/jws.ts'
import { plus, type Instant } from '../../../core/clock.ts'
import {
  joinKeyOf,
  openJoinKey,
  openRequest,
  sealRequest,
  signJoinKey,
} from '../../../core/join/sealed-call.ts'
import { LIMITS } from '../../../core/limits.ts'
import { systemRandom } from '../../../core/random.ts'
import { agentLeaf, CLUSTER, failure, HOUR, makeCa, NOW } from '../../support/pki.ts'

const ca = await makeCa('host')
const ed = await makeCa('host', 'EdDSA')
const key = joinKeyOf(Buffer.alloc(32, 7))
const of = { cluster: CLUSTER, now: NOW }
const check = { cas: [ca.certificate], cluster: CLUSTER, now: NOW }
const publicKey = await openJoinKey(await signJoinKey(ca.signer, key, of), check)
const seal = (body: unknown) => sealRequest(publicKey, { path: '/v1/join', body }, systemRandom)

test('what is sealed opens with the key, and the answer with the request', async () => {
  const sealed = await seal({ secret: 'of mine' })
  expect(JSON.stringify(sealed.request)).not.toContain('of mine')
  const opened = await openRequest(key, sealed.request, '/v1/join')
  expect(opened.body).toEqual({ secret: 'of mine' })
  expect(await sealed.open(await opened.seal({ agent_id: 'ag_1' }))).toEqual({ agent_id: 'ag_1' })
})

test('an Ed25519 host CA vouches as well, and of several any', async () => {
  const statement = await signJoinKey(ed.signer, key, of)
  const cas = [ca.certificate, ed.certificate]
  expect((await openJoinKey(statement, { ...check, cas })).x).toBe(publicKey.x)
})

test.each<[string, () => Promise<string>, Partial<typeof check>, RegExp]>([
  ['by another CA', () => signJoinKey(ed.signer, key, of), {}, /not signed by a host CA/],
  [
    'by an agent of the cluster',
    async () => signJoinKey((await agentLeaf(ca)).signer, key, of),
    {},
    /not signed by a host CA/,
  ],
  [
    'for another cluster',
    () => signJoinKey(ca.signer, key, of),
    { cluster: 'x' },
    /another cluster/,
  ],
  [
    'that is over',
    () => signJoinKey(ca.signer, key, of),
    { now: plus(NOW, LIMITS.joinKeyTtl.value) },
    /expired/,
  ],
  [
    'of another type, with the same content',
    () => jwsSign(ca.signer, { typ: 'JWT' }, { cluster: CLUSTER, key: publicKey, expires: 4e9 }),
    {},
    /not signed by a host CA/,
  ],
  [
    'over another kind of key',
    () =>
      jwsSign(
        ca.signer,
        { typ: 'postern-join-key+jws' },
        { cluster: CLUSTER, key: { kty: 'oct', k: 'AA' }, expires: 4e9 },
      ),
    {},
    /another shape/,
  ],
  ['that is nothing', async () => 'x.y.z', {}, /not signed by a host CA/],
])('a statement %s is none', async (_what, made, other, reason) => {
  const statement = await made()
  const refused = await failure(() => openJoinKey(statement, { ...check, ...other }))
  expect(refused).toMatchObject({ code: 'ERR_CA_PIN_MISMATCH' })
  expect(refused?.reason).toMatch(reason)
})

test('a clock that lags by hours does not refuse it', async () => {
  const statement = await signJoinKey(ca.signer, key, of)
  const early = (NOW - 5 * HOUR) as Instant
  expect((await openJoinKey(statement, { ...check, now: early })).x).toBe(publicKey.x)
})

test('a request opens with its own key, for its own call, unchanged, and not otherwise', async () => {
  const { request } = await seal({ a: 1 })
  const [head = '', ...rest] = request.sealed.split('.')
  const last = rest.at(-1) ?? ''
  const flipped = [head, ...rest.slice(0, -1), (last.startsWith('A') ? 'B' : 'A') + last.slice(1)]
  for (const run of [
    () => openRequest(joinKeyOf(Buffer.alloc(32, 8)), request, '/v1/join'),
    () => openRequest(key, request, '/v1/renew'),
    () => openRequest(key, { sealed: flipped.join('.') }, '/v1/join'),
    () => openRequest(key, { sealed: 'e30....' }, '/v1/join'),
  ])
    expect(await failure(run)).toMatchObject({ code: 'ERR_INPUT_INVALID' })
})

// Each answer is bound to one request: an older answer, even the cluster's own, is no answer to a new one.
test('an answer to another request, in the clear or bent is refused', async () => {
  const [one, two] = [await seal({}), await seal({})]
  const answer = await (await openRequest(key, one.request, '/v1/join')).seal({ agent_id: 'ag_1' })
  for (const given of [answer, { agent_id: 'ag_1' }, undefined, 'text', { sealed: 7 }, one.request])
    expect(await failure(() => two.open(given))).toMatchObject({ code: 'ERR_CA_PIN_MISMATCH' })
})

test('a key agreement with a point of small order is refused on either side', async () => {
  const zero = { kty: 'OKP', crv: 'X25519', x: Buffer.alloc(32).toString('base64url') }
  await expect(
    sealRequest(zero, { path: '/v1/join', body: {} }, systemRandom),
  ).rejects.toBeDefined()
  const header = { alg: 'ECDH-ES', enc: 'A256GCM', typ: 'postern-sealed-call+jwe', epk: zero }
  const head = Buffer.from(JSON.stringify(header)).toString('base64url')
  const sealed = `${head}..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA`
  expect(await failure(() => openRequest(key, { sealed }, '/v1/join'))).toMatchObject({
    code: 'ERR_INPUT_INVALID',
  })
})
