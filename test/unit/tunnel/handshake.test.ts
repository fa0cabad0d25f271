// The handshake, broken one field at a time: whoever changes one thing that either side said gets nothing.
import { beforeAll, describe, expect, test } from 'vitest'
import { plus } from '../../../core/clock.ts'
import { reasonOf } from '../../../core/errors.ts'
import { systemRandom } from '../../../core/random.ts'
import {
  checkChallenge,
  checkProofMessage,
  dialledAddress,
  makeChallenge,
  makeHello,
  makeProof,
} from '../../../core/tunnel/handshake.ts'
import {
  challenge as challengeSchema,
  decodeMessage,
  encodeMessage,
  hello as helloSchema,
  proof as proofSchema,
  type Challenge,
  type Hello,
  type Proof,
} from '../../../core/tunnel/handshake-messages.ts'
import {
  agentLeaf,
  CLUSTER,
  failure,
  HOUR,
  makeCa,
  NOW,
  PROXY_ID,
  proxyLeaf,
  userLeaf,
  type Ca,
  type Leaf,
} from '../../support/pki.ts'

const ADDRESS = 'access.example.com:443'
let hostCa: Ca
let userCa: Ca
let otherCa: Ca
let proxy: Leaf
let agent: Leaf
let user: Leaf
let said: { hello: Hello; challenge: Challenge; proof: Proof }

const serverSide = (identity: Leaf) => ({
  cluster: CLUSTER,
  identity,
  liveProxies: 2,
  random: systemRandom,
  isOwnAddress: (dialled: string) => dialled === ADDRESS,
})
const clientView = () => ({ cluster: CLUSTER, hostCas: [hostCa.certificate], now: NOW })
const proxyView = () => ({ ...clientView(), userCas: [userCa.certificate] })

async function talk(who: Leaf, purpose: Hello['purpose'] = 'agent') {
  const hello = makeHello(purpose, ADDRESS, systemRandom)
  const challenge = await makeChallenge(hello, serverSide(proxy))
  return { hello, challenge, proof: await makeProof(hello, challenge, who) }
}

beforeAll(async () => {
  ;[hostCa, userCa, otherCa] = await Promise.all([makeCa('host'), makeCa('user'), makeCa('other')])
  ;[proxy, agent, user] = await Promise.all([
    proxyLeaf(hostCa),
    agentLeaf(hostCa),
    userLeaf(userCa),
  ])
  said = await talk(agent)
})

describe('who is who', () => {
  test('an agent and a proxy of the cluster believe each other', () => {
    expect(checkChallenge(said.hello, said.challenge, clientView())).toBe(PROXY_ID)
    const { identity } = checkProofMessage(said.hello, said.challenge, said.proof, proxyView())
    expect(identity).toMatchObject({ kind: 'agent', service: 'ssh', cluster: CLUSTER })
  })

  test('a user comes with a certificate of the user CA, a peer with one of a proxy', async () => {
    const asUser = await talk(user, 'user')
    expect(
      checkProofMessage(asUser.hello, asUser.challenge, asUser.proof, proxyView()).identity,
    ).toMatchObject({ kind: 'user', user: 'alice' })
    const asPeer = await talk(proxy, 'peer')
    expect(
      checkProofMessage(asPeer.hello, asPeer.challenge, asPeer.proof, proxyView()).identity.kind,
    ).toBe('proxy')
  })

  test.each<[string, Hello['purpose'], () => Leaf]>([
    ['an agent as a user', 'user', () => agent],
    ['an agent as a proxy', 'peer', () => agent],
    ['a user as an agent', 'agent', () => user],
    ['a proxy as an agent', 'agent', () => proxy],
  ])('%s is refused', async (_name, purpose, who) => {
    const t = await talk(who(), purpose)
    const result = await failure(() =>
      checkProofMessage(t.hello, t.challenge, t.proof, proxyView()),
    )
    expect(result?.code).toBe('ERR_TUNNEL_HANDSHAKE')
  })

  test('an agent that shows its certificate as a proxy is not believed by a client', async () => {
    const hello = makeHello('agent', ADDRESS, systemRandom)
    const honest = await makeChallenge(hello, serverSide(proxy))
    const forged = { ...honest, certificate: agent.certificate.raw.toString('base64url') }
    expect((await failure(() => checkChallenge(hello, forged, clientView())))?.code).toBe(
      'ERR_TUNNEL_HANDSHAKE',
    )
  })

  test('a proxy certified by another CA is not believed, an expired one neither', async () => {
    const hello = makeHello('agent', ADDRESS, systemRandom)
    const stranger = await makeChallenge(hello, serverSide(await proxyLeaf(otherCa)))
    expect((await failure(() => checkChallenge(hello, stranger, clientView())))?.reason).toContain(
      'not a pinned CA',
    )
    const late = { ...clientView(), now: plus(NOW, 13 * HOUR) }
    expect(
      (await failure(() => checkChallenge(said.hello, said.challenge, late)))?.reason,
    ).toContain('expired')
  })
})

// A proxy in the middle that relays a handshake was itself dialled under another name.
test('a client that dialled another address is turned away before anything is signed', async () => {
  const hello = makeHello('agent', 'evil.example.com:443', systemRandom)
  const result = await failure(() => makeChallenge(hello, serverSide(proxy)))
  expect(result?.code).toBe('ERR_TUNNEL_HANDSHAKE')
  expect(result?.reason).toContain('evil.example.com')
})

test('no common version is its own answer', async () => {
  const hello = { ...makeHello('agent', ADDRESS, systemRandom), versions: [2, 3] }
  expect((await failure(() => makeChallenge(hello, serverSide(proxy))))?.code).toBe(
    'ERR_TUNNEL_VERSION',
  )
})

const flip = (text: string): string => (text.startsWith('A') ? 'B' : 'A') + text.slice(1)

describe('the client refuses a challenge in which this was changed:', () => {
  test.each<[string, (c: Challenge) => Challenge]>([
    ['version', (c) => ({ ...c, version: 2 })],
    ['proxyId', (c) => ({ ...c, proxyId: 'px_01jd00000000000000000000qq' })],
    ['cluster', (c) => ({ ...c, cluster: 'other.postern' })],
    ['nonce', (c) => ({ ...c, nonce: flip(c.nonce) })],
    ['liveProxies', (c) => ({ ...c, liveProxies: 3 })],
    ['signature', (c) => ({ ...c, signature: flip(c.signature) })],
    ['certificate', (c) => ({ ...c, certificate: `${c.certificate.slice(0, -4)}AAAA` })],
  ])('%s', async (_field, change) => {
    const result = await failure(() =>
      checkChallenge(said.hello, change(said.challenge), clientView()),
    )
    expect(result?.code).toBe('ERR_TUNNEL_HANDSHAKE')
  })

  test.each<[string, (h: Hello) => Hello]>([
    ['its own nonce', (h) => ({ ...h, nonce: flip(h.nonce) })],
    ['the address', (h) => ({ ...h, dialled: 'other.example.com:443' })],
    ['the purpose', (h) => ({ ...h, purpose: 'user' })],
    ['the versions it offered', (h) => ({ ...h, versions: [1, 2] })],
  ])('%s (answer to another hello)', async (_field, change) => {
    const result = await failure(() =>
      checkChallenge(change(said.hello), said.challenge, clientView()),
    )
    expect(result?.reason).toContain('signature of the proxy')
  })
})

describe('the proxy refuses a proof when this was changed:', () => {
  test.each<[string, (t: typeof said) => typeof said]>([
    ['the signature', (t) => ({ ...t, proof: { ...t.proof, signature: flip(t.proof.signature) } })],
    ['the client nonce', (t) => ({ ...t, hello: { ...t.hello, nonce: flip(t.hello.nonce) } })],
    ['the address', (t) => ({ ...t, hello: { ...t.hello, dialled: 'other.example.com:443' } })],
    ['the versions offered', (t) => ({ ...t, hello: { ...t.hello, versions: [1, 9] } })],
    [
      'the proxy nonce',
      (t) => ({ ...t, challenge: { ...t.challenge, nonce: flip(t.challenge.nonce) } }),
    ],
    [
      'the proxy',
      (t) => ({ ...t, challenge: { ...t.challenge, proxyId: 'px_01jd00000000000000000000qq' } }),
    ],
    ['the cluster', (t) => ({ ...t, challenge: { ...t.challenge, cluster: 'other.postern' } })],
    ['the number of proxies', (t) => ({ ...t, challenge: { ...t.challenge, liveProxies: 9 } })],
  ])('%s', async (_field, change) => {
    const t = change(said)
    const result = await failure(() =>
      checkProofMessage(t.hello, t.challenge, t.proof, proxyView()),
    )
    expect(result?.code).toBe('ERR_TUNNEL_HANDSHAKE')
    expect(result?.reason).toContain('signature of the client')
  })

  test('the certificate, by another agent of the same CA', async () => {
    const other = (await agentLeaf(hostCa)).certificate.raw.toString('base64url')
    const proof = { ...said.proof, certificate: other }
    expect(
      (await failure(() => checkProofMessage(said.hello, said.challenge, proof, proxyView())))
        ?.reason,
    ).toContain('signature of the client')
  })

  test('the proxy’s own signature does not serve as the client’s', async () => {
    const t = await talk(proxy, 'peer')
    const proof = { ...t.proof, signature: t.challenge.signature }
    expect(
      (await failure(() => checkProofMessage(t.hello, t.challenge, proof, proxyView())))?.code,
    ).toBe('ERR_TUNNEL_HANDSHAKE')
  })
})

describe('a message is refused by its wrong field', () => {
  const refused = (schema: Parameters<typeof decodeMessage>[0], value: unknown) => {
    try {
      decodeMessage(schema, Buffer.from(JSON.stringify(value)))
      return 'accepted'
    } catch (e) {
      return reasonOf(e)
    }
  }
  test.each<[string, unknown]>([
    ['versions', []],
    ['versions', [1.5]],
    ['versions', Array(17).fill(1)],
    ['purpose', 'root'],
    ['nonce', 'short'],
    ['nonce', '='.repeat(43)],
    ['dialled', 'Access.Example.com:443'],
    ['dialled', 'no-port'],
    ['dialled', `${'a'.repeat(300)}:1`],
    ['type', 'proof'],
    ['extra', 1],
  ])('hello.%s = %j', (field, value) => {
    expect(refused(helloSchema, { ...said.hello, [field]: value })).toContain(field)
  })
  test.each<[string, unknown]>([
    ['certificate', ''],
    ['certificate', 'A'.repeat(30_000)],
    ['signature', '*'],
    ['liveProxies', -1],
    ['version', '1'],
    ['extra', 1],
  ])('challenge.%s = %j', (field, value) => {
    expect(refused(challengeSchema, { ...said.challenge, [field]: value })).toContain(field)
  })
  test('bytes that are no JSON, or too many, are refused before they are parsed', async () => {
    for (const bytes of [Buffer.from('{'), Buffer.alloc(32_769, 0x20), Buffer.from([0xff])])
      expect((await failure(() => decodeMessage(proofSchema, bytes)))?.code).toBe(
        'ERR_TUNNEL_PROTOCOL',
      )
  })
  test('every message survives its own encoding', () => {
    expect(decodeMessage(helloSchema, Buffer.from(encodeMessage(said.hello)))).toEqual(said.hello)
    expect(decodeMessage(challengeSchema, Buffer.from(encodeMessage(said.challenge)))).toEqual(
      said.challenge,
    )
  })
})

test.each([
  ['wss://Access.Example.com', 'access.example.com:443'],
  ['wss://access.example.com:3080/x', 'access.example.com:3080'],
  ['wss://[::1]:8443', '[::1]:8443'],
  ['ws://127.0.0.1', '127.0.0.1:80'],
])('%s is dialled as %s', (url, dialled) => {
  expect(dialledAddress(new URL(url))).toBe(dialled)
})
