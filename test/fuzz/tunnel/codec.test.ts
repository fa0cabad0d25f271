// Bytes of a peer cannot hurt: any input gives frames, "need more" or one error, however it is cut, and allocates no more than it is long.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createDecoder } from '../../../core/tunnel/codec.ts'
import { header, withPayload, type ControlFrame } from '../../../core/tunnel/frame.ts'
import { decodeReset, encodeReset } from '../../../core/tunnel/reset-reason.ts'
import { TUNNEL_LIMITS } from '../../../core/tunnel/tunnel-limits.ts'
import { decodeMessage, hello, proof } from '../../../core/tunnel/handshake-messages.ts'
import { decodeOpen } from '../../../core/tunnel/open.ts'
import { ERRORS, isAppError, type ErrorCode } from '../../../core/errors.ts'
import { rawPeer } from '../../support/raw-peer.ts'
import { fuzzRuns, fuzzTimeout } from '../../support/fuzz.ts'

type Event = ControlFrame | { type: 'data'; id: number; bytes: string; fin: boolean }

function decode(chunks: readonly Buffer[]): { events: Event[]; error: string | undefined } {
  const events: Event[] = []
  let id = 0
  let parts: Buffer[] = []
  const decoder = createDecoder(
    {
      control: (frame) => void events.push(frame),
      dataHeader: (of) => {
        id = of
        parts = []
        return undefined
      },
      dataPiece: (piece) => void parts.push(Buffer.from(piece)),
      dataEnd: (fin) =>
        void events.push({ type: 'data', id, bytes: Buffer.concat(parts).toString('hex'), fin }),
    },
    TUNNEL_LIMITS,
  )
  let error: string | undefined
  for (const chunk of chunks) error = decoder.push(chunk)?.code ?? error
  return { events, error }
}

const cut = (bytes: Buffer, sizes: readonly number[]): Buffer[] => {
  const out: Buffer[] = []
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const n = sizes[i % sizes.length] ?? 1
    out.push(bytes.subarray(at, at + n))
    at += n
  }
  return out
}
const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 })
const u32 = fc.integer({ min: 1, max: 0xffff_ffff })
const payload = fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.from(b))

const frames = fc.array(
  fc.oneof(
    fc
      .tuple(u32, payload, fc.boolean())
      .map(([id, b, fin]) => [header(0, fin ? 1 : 0, id, b.length), b]),
    fc.tuple(u32, u32).map(([id, n]) => [header(1, 0, id, n)]),
    fc.tuple(u32, fc.boolean()).map(([token, reply]) => [header(2, reply ? 1 : 0, 0, token)]),
    u32.map((ms) => [header(3, 0, 0, ms)]),
    fc
      .tuple(fc.constantFrom(4, 5, 6), u32, payload)
      .map(([t, id, b]) => [...withPayload(t, id, b)]),
    payload.map((b) => [header(0x90, 0, 7, b.length), b]),
  ),
  { maxLength: 20 },
)

test('valid frames decode alike however they are cut', { timeout: fuzzTimeout }, () => {
  fc.assert(
    fc.property(frames, sizes, (list, pieces) => {
      const bytes = Buffer.concat(list.flat())
      const whole = decode([bytes])
      expect(whole.error).toBeUndefined()
      expect(decode(cut(bytes, pieces))).toEqual(whole)
      const optional = list.filter((f) => f[0]?.[1] === 0x90).length
      expect(whole.events.length).toBe(list.length - optional)
    }),
    { numRuns: fuzzRuns },
  )
})

test(
  'any bytes end in frames or one protocol error, alike however they are cut',
  { timeout: fuzzTimeout },
  () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), sizes, (raw, pieces) => {
        const bytes = Buffer.from(raw)
        const whole = decode([bytes])
        expect(decode(cut(bytes, pieces))).toEqual(whole)
        expect([undefined, 'ERR_TUNNEL_PROTOCOL']).toContain(whole.error)
      }),
      { numRuns: fuzzRuns },
    )
  },
)

test(
  'a session fed mutated frames lives or closes, and never throws',
  { timeout: fuzzTimeout },
  () => {
    fc.assert(
      fc.property(
        frames,
        fc.array(fc.tuple(fc.nat(600), fc.nat(255)), { maxLength: 4 }),
        (list, changes) => {
          const bytes = Buffer.concat([header(4, 0, 1, 0), ...list.flat()])
          for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
          const peer = rawPeer()
          peer.send(bytes)
          peer.offered[0]?.accept()
          peer.offered[0]?.start()
          peer.send(bytes)
          peer.turn()
          if (peer.closed) expect(peer.session.streams).toBe(0)
          peer.session.close()
          expect(peer.callbackErrors).toEqual([])
        },
      ),
      { numRuns: fuzzRuns },
    )
  },
)

test('a reset reason survives its encoding, cut at a character', { timeout: fuzzTimeout }, () => {
  const codes = fc.constantFrom(...(Object.keys(ERRORS) as ErrorCode[]))
  fc.assert(
    fc.property(codes, fc.string({ unit: 'grapheme', maxLength: 400 }), (code, message) => {
      const bytes = encodeReset(code, message, 256)
      expect(bytes.length).toBeLessThanOrEqual(256)
      const back = decodeReset(bytes)
      expect(back.code).toBe(code)
      const text = bytes.toString('utf8', code.length + 1)
      expect(message.startsWith(text)).toBe(true)
    }),
    { numRuns: fuzzRuns },
  )
})

test(
  'handshake messages and open payloads parse or are refused with a code',
  { timeout: fuzzTimeout },
  () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b)),
      fc.json().map((text) => Buffer.from(text)),
    )
    fc.assert(
      fc.property(bytes, (input) => {
        for (const parse of [
          () => decodeMessage(hello, input),
          () => decodeMessage(proof, input),
          () => decodeOpen(input),
          () => decodeReset(input),
        ])
          try {
            parse()
          } catch (e) {
            expect(isAppError(e) && e.code !== 'ERR_INTERNAL').toBe(true)
          }
      }),
      { numRuns: fuzzRuns },
    )
  },
)
