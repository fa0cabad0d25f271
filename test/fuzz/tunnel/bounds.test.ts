// What a peer can send before and after it has proven anything costs a bounded time and a bounded memory, whatever it is.
import { expect, test } from 'vitest'
import { isAppError } from '../../../core/errors.ts'
import { systemRandom } from '../../../core/random.ts'
import { createDecoder } from '../../../core/tunnel/codec.ts'
import { header, withPayload } from '../../../core/tunnel/frame.ts'
import {
  checkChallenge,
  checkProofMessage,
  makeChallenge,
  makeHello,
  makeProof,
} from '../../../core/tunnel/handshake.ts'
import * as messages from '../../../core/tunnel/handshake-messages.ts'
import { decodeOpen, encodeOpen } from '../../../core/tunnel/open.ts'
import { TUNNEL_LIMITS } from '../../../core/tunnel/tunnel-limits.ts'
import { bounded, boundedTimeout, mutate, type Chance } from '../../support/fuzz-bounds.ts'
import { agentLeaf, CLUSTER, makeCa, NOW, proxyLeaf } from '../../support/pki.ts'
import { rawPeer } from '../../support/raw-peer.ts'

const hostCa = await makeCa('host CA', 'ES256', NOW)
const proxy = await proxyLeaf(hostCa)
const agent = await agentLeaf(hostCa)

const hello = makeHello('agent', '127.0.0.1:443', systemRandom)
const challenge = await makeChallenge(hello, {
  cluster: CLUSTER,
  identity: proxy,
  liveProxies: 2,
  random: systemRandom,
  isOwnAddress: () => true,
})
const proof = await makeProof(hello, challenge, agent)

/** Refusing is right; anything but an error with a code of ours is not. */
function refusable(work: () => unknown): void {
  try {
    work()
  } catch (e) {
    expect(isAppError(e) && e.code !== 'ERR_INTERNAL', String(e)).toBe(true)
  }
}

const payload = (c: Chance, max: number): Buffer => Buffer.alloc(c.below(max), c.below(256))

function frame(c: Chance): Buffer {
  const id = c.pick([0, 1, 2, 3, 5, 7, 0xffffffff])
  switch (c.below(8)) {
    case 0:
    case 1: {
      const bytes = payload(c, 400)
      return Buffer.concat([header(0, c.below(2), id, bytes.length), bytes])
    }
    case 2:
      return header(1, 0, id, c.pick([1, 65_536, 0xffffffff]))
    case 3:
      return header(2, c.below(2), 0, c.below(9))
    case 4:
      return header(3, 0, 0, c.below(99_999))
    case 5:
      return Buffer.concat(withPayload(4, id, payload(c, 300)))
    case 6:
      return Buffer.concat(withPayload(c.pick([5, 6]), id, payload(c, 100)))
    default:
      return Buffer.concat([header(0x80 + c.below(127), 0, id, 20), Buffer.alloc(20)])
  }
}
const frames = (c: Chance): Buffer =>
  Buffer.concat(Array.from({ length: 1 + c.below(12) }, () => frame(c)))

test('frames: the decoder, in whole and in single bytes', { timeout: boundedTimeout }, async () => {
  const decoder = () =>
    createDecoder(
      {
        control: () => undefined,
        dataHeader: () => undefined,
        dataPiece: () => undefined,
        dataEnd: () => undefined,
      },
      TUNNEL_LIMITS,
    )
  await bounded(
    (c) => mutate(frames(c), c),
    (input) => {
      const whole = decoder().push(input)
      const one = decoder()
      let last = undefined
      for (let i = 0; i < input.length; i++) last = one.push(input.subarray(i, i + 1))
      expect(last?.code).toBe(whole?.code)
    },
  )
})

test('frames: a session that answers and accepts', { timeout: boundedTimeout }, async () => {
  await bounded(
    (c) => Buffer.concat([header(4, 0, 1, 0), mutate(frames(c), c)]),
    (input) => {
      const peer = rawPeer()
      peer.send(input)
      for (const stream of peer.offered) {
        if (stream.state === 'offered') stream.accept()
        stream.start()
      }
      peer.turn()
      peer.session.close()
      expect(peer.session.streams).toBe(0)
      expect(peer.callbackErrors).toEqual([])
    },
  )
})

const texts = [hello, challenge, proof].map((m) => Buffer.from(messages.encodeMessage(m)))
const others = [
  { type: 'welcome', connId: 'cn_01', keepAlive: { pingIdleMs: 15_000, deadAfterMs: 40_000 } },
  { type: 'refused', code: 'ERR_LOCKED', message: 'no' },
].map((m) => Buffer.from(JSON.stringify(m)))
const open = encodeOpen({ v: 1, kind: 'ssh', route: 'a.b.c', offer: 'a.b.c' })
const seeds = [...texts, ...others, open]

/** Texts that parsers are known to suffer from. */
function cruel(c: Chance): Buffer {
  const n = 1 + c.below(16_000)
  return Buffer.from(
    c.pick([
      '['.repeat(n),
      '{"a":'.repeat(n),
      `{"type":"${'\\u0000'.repeat(n / 8)}"}`,
      `{"versions":[${'1,'.repeat(n / 2)}1]}`,
      `{"nonce":${'9'.repeat(n)}}`,
      `{"dialled":"${'a.'.repeat(n / 2)}:1"}`,
      `{${'"a":1,'.repeat(n / 6)}"a":1}`,
      `{"__proto__":{"x":${n}},"constructor":1}`,
      ' '.repeat(n),
      '\ufeff'.repeat(n / 4),
    ]),
  )
}

test('handshake messages and OPEN: every decoder', { timeout: boundedTimeout }, async () => {
  await bounded(
    (c) => (c.below(8) === 0 ? cruel(c) : mutate(c.pick(seeds), c)),
    (input) => {
      refusable(() => messages.decodeHello(input))
      refusable(() => messages.decodeChallenge(input))
      refusable(() => messages.decodeProof(input))
      refusable(() => messages.decodeWelcome(input))
      refusable(() => messages.decodeRefused(input))
      refusable(() => decodeOpen(input))
    },
  )
})

test(
  'what is proven in a handshake: certificates and signatures, changed byte by byte',
  { timeout: boundedTimeout },
  async () => {
    const expected = { cluster: CLUSTER, hostCas: [hostCa.certificate], userCas: [], now: NOW }
    const certificate = Buffer.from(proof.certificate, 'base64url')
    const signature = Buffer.from(proof.signature, 'base64url')
    let taken = 0
    await bounded(
      (c) =>
        Buffer.concat([
          Buffer.from([c.below(3)]),
          mutate(c.below(4) === 0 ? signature : certificate, c),
        ]),
      (input) => {
        const bytes = input.subarray(1)
        // Several changes may undo each other.
        if (bytes.equals(certificate) || bytes.equals(signature)) return
        const text = bytes.toString('base64url')
        const change = input[0] === 0 ? { signature: text } : { certificate: text }
        refusable(() => {
          checkProofMessage(hello, challenge, { ...proof, ...change }, expected)
          taken += 1
        })
        refusable(() => {
          checkChallenge(hello, { ...challenge, ...change }, expected)
          taken += 1
        })
      },
    )
    expect(taken).toBe(0)
    checkProofMessage(hello, challenge, proof, expected)
  },
)
