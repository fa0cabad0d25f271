/**
 * An attested document that Azure itself signed, on 28 July 2026, for a VM that is long gone; its nonce is the time, as when nobody
 * asks for one. It is public, in the tests of other projects.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { instant } from '../../../core/clock.ts'
import { publishedSigningKeys, verifyAttested } from '../../../core/join/azure/attested.ts'

const message = Buffer.from(
  readFileSync(join(import.meta.dirname, 'attested.b64'), 'utf8').trim(),
  'base64',
)
const trust = { keys: publishedSigningKeys(), cas: [] }
const at = (time: string) => instant(Date.parse(time))
const NOON = '2026-07-28T14:00:00Z'
const read = (bytes = message, nonce = '20260728-192400', time = NOON, keys = trust) =>
  verifyAttested(bytes, keys, nonce, at(time))

test('Azure signed this one, by a CA whose key we ship', () => {
  expect(read()).toEqual({
    vmId: 'b1310a36-d400-46f6-82cb-6217df846586',
    subscription: '8a205152-b25a-417f-a676-80465535a6c9',
  })
})

test.each<[string, () => unknown, RegExp]>([
  [
    // The chain was checked, the signature was not.
    'CVE-2026-46354 (Coder): with one character of the VM changed',
    () => {
      const bytes = Buffer.from(message)
      bytes.write('c', bytes.indexOf('b1310a36'))
      return read(bytes)
    },
    /signed by the key of none of its certificates/,
  ],
  ['for another nonce', () => read(message, 'x'), /for another join/],
  ['after six hours', () => read(message, undefined, '2026-07-28T19:26:00Z'), /document expired/],
  ['before it was made', () => read(message, undefined, '2026-07-28T13:20:00Z'), /of the future/],
  [
    'after its certificate',
    () => read(message, undefined, '2027-01-01T00:00:00Z'),
    /certificate is not in force/,
  ],
  [
    'after its CA',
    () => read(message, undefined, '2029-07-01T00:00:00Z'),
    /the CA is not in force/,
  ],
  [
    // The address of the issuer that the certificate names is never asked: a CA is known, or it is not.
    'CVE-2026-45796 (Coder): by a CA that is not listed',
    () => read(message, undefined, NOON, { ...trust, keys: [] }),
    /certificate is of no CA that is listed/,
  ],
])('it counts for nothing %s', (_, attempt, reason) => {
  let error: unknown
  try {
    attempt()
  } catch (e) {
    error = e
  }
  expect(error).toMatchObject({
    code: 'ERR_JOIN_REFUSED',
    internal: expect.stringMatching(reason) as string,
  })
})
