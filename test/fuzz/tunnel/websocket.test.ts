// A peer's bytes below the tunnel cannot hurt either: any input gives messages, "need more" or one violation, however it is cut.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { writeHeader } from '../../../net/websocket/frame.ts'
import { FrameReader } from '../../../net/websocket/frame-reader.ts'
import { fuzzRuns, fuzzTimeout } from '../../support/fuzz.ts'

const MESSAGE_MAX = 70_000
const TEXT_MAX = 1000

interface Result {
  readonly events: readonly string[]
  readonly binary: string
  readonly violation: number | undefined
}

function read(chunks: readonly Buffer[], masked: boolean): Result {
  const events: string[] = []
  const pieces: Buffer[] = []
  const reader = new FrameReader(
    {
      // Good during the call only, so a copy.
      binary: (piece) => void pieces.push(Buffer.from(piece)),
      text: (message) => void events.push(`text ${message.toString('hex')}`),
      ping: (payload) => void events.push(`ping ${payload.toString('hex')}`),
      close: (code, reason) => void events.push(`close ${code} ${reason}`),
    },
    { masked, messageMax: MESSAGE_MAX, textMax: TEXT_MAX },
  )
  let violation: number | undefined
  for (const chunk of chunks) violation ??= reader.push(Buffer.from(chunk))?.code
  return { events, binary: Buffer.concat(pieces).toString('hex'), violation }
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
const sizes = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 8 })

/** A frame as section 5.2 draws it, written apart from the code under test. */
function frame(fin: boolean, opcode: number, payload: Buffer, mask: Buffer | undefined): Buffer {
  const head = Buffer.alloc(14)
  const length = writeHeader(head, opcode, payload.length, mask)
  if (!fin) head[0] = opcode
  const body = Buffer.from(payload)
  if (mask) for (const [i, byte] of body.entries()) body[i] = byte ^ (mask[i % 4] ?? 0)
  return Buffer.concat([head.subarray(0, length), body])
}

const bytes = (max: number) => fc.uint8Array({ maxLength: max }).map((b) => Buffer.from(b))
const mask = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((b) => Buffer.from(b))

type Message =
  { kind: 'binary' | 'text'; parts: Buffer[]; pings: Buffer[] } | { kind: 'ping'; parts: [Buffer] }
const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({
    kind: fc.constant('binary' as const),
    parts: fc.array(bytes(300), { minLength: 1, maxLength: 4 }),
    pings: fc.array(bytes(125), { maxLength: 2 }),
  }),
  fc.record({
    kind: fc.constant('text' as const),
    parts: fc
      .array(fc.string({ maxLength: 60 }), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.map((text) => Buffer.from(text))),
    pings: fc.array(bytes(125), { maxLength: 2 }),
  }),
  bytes(125).map((b) => ({ kind: 'ping' as const, parts: [b] as [Buffer] })),
)

test(
  'messages in any fragments, with pings between them, are read alike however they are cut',
  () => {
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 8 }),
        fc.option(mask, { nil: undefined }),
        sizes,
        (messages, key, cuts) => {
          const wire: Buffer[] = []
          const events: string[] = []
          const binary: Buffer[] = []
          for (const m of messages) {
            if (m.kind === 'ping') {
              wire.push(frame(true, 9, m.parts[0], key))
              events.push(`ping ${m.parts[0].toString('hex')}`)
              continue
            }
            m.parts.forEach((part, i) => {
              const opcode = i > 0 ? 0 : m.kind === 'text' ? 1 : 2
              wire.push(frame(i === m.parts.length - 1, opcode, part, key))
              const ping = i < m.parts.length - 1 ? m.pings[i] : undefined
              if (!ping) return
              wire.push(frame(true, 9, ping, key))
              events.push(`ping ${ping.toString('hex')}`)
            })
            if (m.kind === 'binary') binary.push(...m.parts)
            else events.push(`text ${Buffer.concat(m.parts).toString('hex')}`)
          }
          const all = Buffer.concat(wire)
          const whole = read([all], key !== undefined)
          expect(whole).toEqual({
            events,
            binary: Buffer.concat(binary).toString('hex'),
            violation: undefined,
          })
          expect(read(cut(all, cuts), key !== undefined)).toEqual(whole)
        },
      ),
      { numRuns: Math.ceil(fuzzRuns / 4) },
    )
  },
  fuzzTimeout,
)

test(
  'CVE-2026-48779 (ws): any bytes end in messages or one violation, alike however they are cut',
  () => {
    // Mostly headers that nearly hold, because random bytes fail in the first two.
    const near = fc
      .tuple(fc.constantFrom(0x80, 0x81, 0x82, 0x88, 0x89, 0x8a, 1, 2, 0), fc.nat(255), bytes(140))
      .map(([first, second, rest]) => Buffer.concat([Buffer.from([first, second]), rest]))
    const any = fc.array(fc.oneof(bytes(40), near), { maxLength: 6 }).map((b) => Buffer.concat(b))
    fc.assert(
      fc.property(any, fc.boolean(), sizes, (input, masked, cuts) => {
        const whole = read([input], masked)
        expect([undefined, 1002, 1007, 1009]).toContain(whole.violation)
        expect(whole.binary.length / 2).toBeLessThanOrEqual(input.length)
        expect(read(cut(input, cuts), masked)).toEqual(whole)
      }),
      { numRuns: fuzzRuns },
    )
  },
  fuzzTimeout,
)

test(
  'CVE-2020-27813 (gorilla), CVE-2023-43669 (tungstenite): a length in a header allocates nothing that the caps do not allow',
  () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 65_536n, max: 2n ** 64n - 1n }), (length) => {
        const head = Buffer.alloc(10)
        head[0] = 0x82
        head[1] = 127
        head.writeBigUInt64BE(length, 2)
        const before = process.memoryUsage().arrayBuffers
        const { violation } = read([head], false)
        expect(violation).toBe(length > BigInt(MESSAGE_MAX) ? 1009 : undefined)
        expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000)
      }),
      { numRuns: Math.ceil(fuzzRuns / 10) },
    )
  },
  fuzzTimeout,
)

test('the examples of RFC 6455 section 5.7', () => {
  const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')
  const hello = Buffer.from('Hello').toString('hex')
  expect(read([hex('81 05 48 65 6c 6c 6f')], false).events).toEqual([`text ${hello}`])
  expect(read([hex('81 85 37 fa 21 3d 7f 9f 4d 51 58')], true).events).toEqual([`text ${hello}`])
  expect(read([hex('01 03 48 65 6c'), hex('80 02 6c 6f')], false).events).toEqual([`text ${hello}`])
  expect(read([hex('89 05 48 65 6c 6c 6f')], false).events).toEqual([`ping ${hello}`])
  const long = Buffer.alloc(65_536, 7)
  expect(read([hex('82 7E 0100'), long.subarray(0, 256)], false).binary).toHaveLength(512)
  expect(read([hex('82 7F 0000000000010000'), long], false).binary).toBe(long.toString('hex'))
})

test.each<[string, string, boolean, number]>([
  ['a reserved bit', 'c1 00', false, 1002],
  ['an unknown opcode', '83 00', false, 1002],
  ['a masked frame of a server', '82 80 00000000', false, 1002],
  ['an unmasked frame of a client', '82 00', true, 1002],
  ['a continuation of nothing', '80 00', false, 1002],
  ['a message inside a message', '02 00 82 00', false, 1002],
  ['a ping in parts', '09 00', false, 1002],
  ['a ping of 126 bytes', '89 7e 007e', false, 1002],
  ['a length that is not the shortest', '82 7e 0005', false, 1002],
  ['a close of one byte', '88 01 03', false, 1002],
  ['a close code that must not be sent', '88 02 03ee', false, 1002],
  ['a text that is not UTF-8', '81 02 c328', false, 1007],
  ['a close reason that is not UTF-8', '88 04 03e8 c328', false, 1007],
  ['a text above its cap', '81 7e 03e9', false, 1009],
  ['a text above its cap in fragments', `01 7e 03e8 ${'61'.repeat(1000)} 80 01`, false, 1009],
  ['a binary message above its cap', '82 7f 0000000000011171', false, 1009],
])('%s is a violation', (_what, wire, masked, code) => {
  expect(read([Buffer.from(wire.replaceAll(' ', ''), 'hex')], masked).violation).toBe(code)
})
