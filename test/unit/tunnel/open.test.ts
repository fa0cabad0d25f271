// What an OPEN asks for, and the offer that the user signs for it.
import { beforeAll, describe, expect, test } from 'vitest'
import { plus } from '../../../core/clock.ts'
import { jwsSign } from '../../../core/certs/jws.ts'
import {
  decodeOpen,
  encodeOpen,
  OFFER_TYP,
  signOffer,
  verifyOffer,
  type Offer,
  type ResourceOpen,
} from '../../../core/tunnel/open.ts'
import {
  agentLeaf,
  CLUSTER,
  failure,
  HOUR,
  makeCa,
  NOW,
  userLeaf,
  type Ca,
  type Leaf,
} from '../../support/pki.ts'

const ROUTE = 'eyJ.eyJ.c2ln'
const OFFER = 'eyJ.eyJ.b2Zm'
const asked: ResourceOpen = { v: 1, kind: 'ssh', route: ROUTE, offer: OFFER }
let userCa: Ca
let hostCa: Ca
let alice: Leaf
let jws: string
let offer: Offer

const check = () => ({
  cluster: CLUSTER,
  route: ROUTE,
  kind: 'ssh' as const,
  userCas: [userCa.certificate],
  now: NOW,
})
const resource = { kind: 'node' as const, name: 'web-1' }

beforeAll(async () => {
  ;[userCa, hostCa] = await Promise.all([makeCa('user'), makeCa('host')])
  alice = await userLeaf(userCa)
  ;({ jws, offer } = await signOffer({
    cluster: CLUSTER,
    route: ROUTE,
    resource,
    identity: alice,
    now: NOW,
  }))
})

describe('the payload of OPEN', () => {
  test('survives its own encoding, with and without what the proxy adds', () => {
    for (const open of [
      asked,
      { ...asked, peer: { ip: '192.0.2.1' } },
      { v: 1, kind: 'policy', hint: 7 },
    ] as const)
      expect(decodeOpen(encodeOpen(open))).toEqual(open)
  })

  test.each<[string, object]>([
    ['v', { ...asked, v: 2 }],
    ['kind', { ...asked, kind: 'discovery' }],
    ['kind', { ...asked, kind: 'shell' }],
    ['route', { ...asked, route: 'not a jws' }],
    ['offer', { v: 1, kind: 'ssh', route: ROUTE }],
    ['peer.ip', { ...asked, peer: { ip: 'x'.repeat(65) } }],
    ['peer.port', { ...asked, peer: { ip: '::1', port: 1 } }],
    ['user', { ...asked, user: 'root' }],
    ['hint', { v: 1, kind: 'policy', hint: -1 }],
    ['route', { v: 1, kind: 'policy', route: ROUTE }],
  ])('is refused by the field %s of %j', async (field, value) => {
    const result = await failure(() => decodeOpen(Buffer.from(JSON.stringify(value))))
    expect(result?.code).toBe('ERR_INPUT_INVALID')
    expect(result?.reason).toContain(field)
  })

  test('above its limit is refused before it is parsed', async () => {
    expect((await failure(() => decodeOpen(Buffer.alloc(32_769))))?.code).toBe(
      'ERR_INPUT_TOO_LARGE',
    )
    const open = { ...asked, route: `${'a'.repeat(32_760)}.b.c` }
    expect((await failure(() => encodeOpen(open)))?.code).toBe('ERR_INPUT_TOO_LARGE')
  })
})

describe('the offer', () => {
  test('says who wants what, for a minute, under a fresh stream id', async () => {
    const verified = await verifyOffer(jws, check())
    expect(verified.identity).toMatchObject({ kind: 'user', user: 'alice' })
    expect(verified.offer).toEqual(offer)
    expect(verified.offer.resource).toEqual(resource)
    const again = await signOffer({
      cluster: CLUSTER,
      route: ROUTE,
      resource,
      identity: alice,
      now: NOW,
    })
    expect(again.offer.sid).not.toBe(offer.sid)
    expect(again.offer.x25519).not.toBe(offer.x25519)
  })

  test.each<[string, string, () => object]>([
    ['another cluster', 'audience', () => ({ cluster: 'other.postern' })],
    ['another route', 'for another route', () => ({ route: `${ROUTE}x` })],
    ['another service', 'for ssh, not app', () => ({ kind: 'app' })],
    ['another user CA', 'not a pinned CA', () => ({ userCas: [hostCa.certificate] })],
    ['an expired certificate', 'expired', () => ({ now: plus(NOW, 13 * HOUR) })],
  ])('is refused for %s', async (_name, reason, change) => {
    const result = await failure(() => verifyOffer(jws, { ...check(), ...change() }))
    expect(result?.code).toBe('ERR_PROOF_INVALID')
    expect(result?.reason).toContain(_name === 'another cluster' ? 'another cluster' : reason)
  })

  test('is refused before its time and after its minute with ERR_CLOCK', async () => {
    for (const now of [plus(NOW, 61_000), plus(NOW, -61_000)])
      expect((await failure(() => verifyOffer(jws, { ...check(), now })))?.code).toMatch(
        /ERR_CLOCK|ERR_PROOF_INVALID/,
      )
    expect(
      (await failure(() => verifyOffer(jws, { ...check(), now: plus(NOW, 61_000) })))?.code,
    ).toBe('ERR_CLOCK')
  })

  const signed = (claims: object, who = alice, typ: string = OFFER_TYP) =>
    jwsSign(who.signer, { typ, x5c: [who.certificate.raw.toString('base64')] }, claims)

  test.each<[string, (o: Offer) => object]>([
    ['lives longer than a minute', (o) => ({ ...o, exp: o.iat + 61 })],
    [
      'names a resource of another service',
      (o) => ({ ...o, resource: { kind: 'app', name: 'web-1' } }),
    ],
    ['has a name that is none', (o) => ({ ...o, resource: { kind: 'node', name: '../x' } })],
    ['has a field too many', (o) => ({ ...o, admin: true })],
    ['has a short stream id', (o) => ({ ...o, sid: 'abc' })],
    ['has no expiry', (o) => ({ ...o, exp: undefined })],
  ])('is refused when it %s', async (_name, change) => {
    const text = await signed(change(offer))
    expect((await failure(() => verifyOffer(text, check())))?.code).toBe('ERR_PROOF_INVALID')
  })

  test('is refused when signed by an agent, with another typ, by another key, or cut', async () => {
    const agent = await agentLeaf(hostCa)
    const mallory = await userLeaf(userCa, 'mallory')
    const stolen = await jwsSign(
      mallory.signer,
      { typ: OFFER_TYP, x5c: [alice.certificate.raw.toString('base64')] },
      offer,
    )
    const cas = [userCa.certificate, hostCa.certificate]
    for (const text of [
      await signed(offer, agent),
      await signed(offer, alice, 'postern-request+jws'),
      stolen,
      jws.slice(0, -2),
      'a.b.c',
      '',
    ])
      expect((await failure(() => verifyOffer(text, { ...check(), userCas: cas })))?.code).toBe(
        'ERR_PROOF_INVALID',
      )
  })
})
