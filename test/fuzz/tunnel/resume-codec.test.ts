// Whatever bytes a peer sends as records: no hang, no throw, and nothing read differently for being cut differently.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { AppError } from '../../../core/errors.ts'
import {
  ackRecord,
  atRecord,
  dataHeader,
  finRecord,
  proofRecord,
  RecordDecoder,
  takeProof,
} from '../../../core/tunnel/resume-codec.ts'

/** What a decoder makes of these chunks: consecutive pieces of DATA joined, because their cut means nothing. */
function heard(chunks: readonly Buffer[]): { said: unknown[]; failed: string | undefined } {
  const said: (readonly unknown[])[] = []
  const decoder = new RecordDecoder({
    piece(bytes) {
      const last = said.at(-1)
      if (last?.[0] === 'data')
        said[said.length - 1] = ['data', `${String(last[1])}${bytes.toString('hex')}`]
      else said.push(['data', bytes.toString('hex')])
      return undefined
    },
    ack: (next, window) => void said.push(['ack', next, window]),
    fin: () => void said.push(['fin']),
    at: (offset) => void said.push(['at', offset]),
  })
  let failed: AppError | undefined
  for (const chunk of chunks) failed = decoder.push(chunk)
  return { said, failed: failed?.code }
}

const cutAt = (bytes: Buffer, at: readonly number[]): Buffer[] => {
  const places = [...new Set(at.map((n) => n % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...places].map((from, i) => bytes.subarray(from, places[i] ?? bytes.length))
}

const record = fc.oneof(
  fc
    .uint8Array({ minLength: 1, maxLength: 300 })
    .map((b) => Buffer.concat([dataHeader(b.length), b])),
  fc
    .tuple(fc.maxSafeNat(), fc.integer({ min: 0, max: 0xffff_ffff }))
    .map(([next, window]) => ackRecord(next, window)),
  fc.constant(finRecord()),
  fc.maxSafeNat().map(atRecord),
)

test('records survive any cutting', () => {
  fc.assert(
    fc.property(
      fc.array(record, { maxLength: 20 }),
      fc.array(fc.nat(), { maxLength: 30 }),
      (records, cuts) => {
        const bytes = Buffer.concat(records)
        const whole = heard([bytes])
        expect(whole.failed).toBeUndefined()
        expect(heard(cutAt(bytes, cuts))).toEqual(whole)
      },
    ),
  )
})

test('any bytes give records, a need for more, or one protocol error, and then silence', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 400 }),
      fc.array(fc.nat(), { maxLength: 20 }),
      (junk, cuts) => {
        const bytes = Buffer.from(junk)
        const whole = heard([bytes])
        expect([undefined, 'ERR_TUNNEL_PROTOCOL']).toContain(whole.failed)
        expect(heard(cutAt(bytes, cuts))).toEqual(whole)
        expect(heard([...cutAt(bytes, cuts), finRecord()]).said.length).toBeLessThanOrEqual(
          whole.said.length + (whole.failed ? 0 : 1),
        )
      },
    ),
  )
})

test('a proof is taken from the front whole, or not at all', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.uint8Array({ maxLength: 50 }),
      (mac, rest) => {
        const bytes = Buffer.concat([proofRecord(Buffer.from(mac)), rest])
        for (let n = 0; n < 36; n++) expect(takeProof(bytes.subarray(0, n))).toBeUndefined()
        expect(takeProof(bytes)).toEqual({ mac: Buffer.from(mac), rest: Buffer.from(rest) })
      },
    ),
  )
})
