/** DER and addresses: one encoding for one value, both ways. */
import { describe, expect, test } from 'vitest'
import { instant } from '../../../core/clock.ts'
import {
  DerReader,
  integer,
  oid,
  octetString,
  readOid,
  readTime,
  readUnsigned,
  time,
  tlv,
} from '../../../core/certs/der.ts'
import { derToRaw } from '../../../core/certs/ecdsa.ts'
import { formatIp, inNetwork, parseIp, parseNetwork } from '../../../core/certs/ip.ts'
import { OID } from '../../../core/certs/oids.ts'

const refused = expect.objectContaining({ code: 'ERR_CERT_INVALID' }) as Error
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')

test.each(Object.entries(OID))('the OID of %s is read back as written', (_name, dotted) => {
  expect(readOid(new DerReader(oid(dotted)).next().content)).toBe(dotted)
})

test('OIDs are the bytes that X.660 gives', () => {
  expect(oid('1.2.840.10045.4.3.2')).toEqual(hex('06 08 2a8648ce3d040302'))
  expect(oid('2.999.3')).toEqual(hex('06 03 883703'))
})

test.each([0, 1, 127, 128, 255, 256, 65_000])('a value of %i bytes is read back', (length) => {
  const value = new DerReader(octetString(Buffer.alloc(length, 7)))
  expect(value.next().content).toHaveLength(length)
  value.end()
})

test.each([
  ['an indefinite length', '30 80 0000'],
  ['a long form for a short length', '04 81 01 00'],
  ['a padded long form', '04 82 0080' + '00'.repeat(128)],
  ['a length of 4 GB', '04 84 ffffffff'],
  ['a length beyond the end', '04 05 00'],
  ['a high tag number', '1f 01 00'],
  ['a header alone', '04'],
  ['nothing', ''],
])('%s is refused', (_name, text) => {
  expect(() => new DerReader(hex(text)).next()).toThrowError(refused)
})

test('integers are minimal and not negative', () => {
  expect(integer(hex('0000 80'))).toEqual(hex('02 02 0080'))
  expect(integer(Buffer.of(0))).toEqual(hex('02 01 00'))
  expect(readUnsigned(hex('0080'))).toEqual(hex('80'))
  for (const bad of ['', '80', '0001']) expect(() => readUnsigned(hex(bad))).toThrowError(refused)
})

test.each(['', '80 01', '2a 86', '2a' + '01'.repeat(64)])('the OID %j is refused', (text) => {
  expect(() => readOid(hex(text))).toThrowError(refused)
})

test.each([
  [Date.UTC(1970, 0, 1), 0x17],
  [Date.UTC(2049, 11, 31, 23, 59, 59), 0x17],
  [Date.UTC(2050, 0, 1), 0x18],
  [Date.UTC(9999, 11, 31, 23, 59, 59), 0x18],
])('the time %i is written with tag %i and read back', (ms, tag) => {
  const value = new DerReader(time(instant(ms))).next()
  expect(value.tag).toBe(tag)
  expect(readTime(value)).toBe(ms)
})

test.each([
  '2611231200Z',
  '261123120000',
  '26112312000.Z',
  '260230000000Z',
  '261123250000Z',
  '261123120060Z',
])('the time %s is refused', (text) => {
  expect(() => readTime(new DerReader(tlv(0x17, Buffer.from(text))).next())).toThrowError(refused)
})

test.each([
  '',
  '30 00',
  '30 06 020101 020101 00',
  '30 03 020101',
  '30 06 0201ff 020101',
  '30 26 0221 01' + '00'.repeat(32) + '020101',
])('the ECDSA signature %j is refused', (text) => {
  expect(() => derToRaw(hex(text))).toThrowError(refused)
})

describe('addresses', () => {
  test.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::', '::'],
    ['::1', '::1'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['fe80::', 'fe80::'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['1:2:3:4:5:6:0:8', '1:2:3:4:5:6:0:8'],
    ['10:0:0:1::', '10:0:0:1::'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['64:ff9b::192.0.2.1', '64:ff9b::c000:201'],
  ])('%s is %s', (text, canonical) => {
    expect(formatIp(parseIp(text) ?? Buffer.alloc(0))).toBe(canonical)
  })

  test.each([
    '',
    '1.2.3',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4.5',
    '1::2::3',
    ':1',
    '1:',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7::8:9',
    'g::',
    '12345::',
    '::1.2.3',
    '::1%eth0',
    '1.2.3.4::',
    ' ::1',
  ])('%j is none', (text) => {
    expect(parseIp(text)).toBeUndefined()
  })

  test.each([
    ['192.0.2.0/24', '192.0.2.255', true],
    ['192.0.2.0/24', '192.0.3.0', false],
    ['192.0.2.128/25', '192.0.2.127', false],
    ['0.0.0.0/0', '8.8.8.8', true],
    ['0.0.0.0/0', '::1', false],
    ['192.0.2.7', '192.0.2.7', true],
    ['2001:db8::/33', '2001:db8:8000::', false],
    ['2001:db8::/32', '2001:db8:ffff::', true],
  ])('%s holds %s: %s', (network, ip, holds) => {
    const [n, i] = [parseNetwork(network), parseIp(ip)]
    expect(n && i && inNetwork(i, n)).toBe(holds)
  })

  test.each([
    '192.0.2.1/24',
    '192.0.2.0/33',
    '192.0.2.0/',
    '192.0.2.0/024',
    '192.0.2.0/24/1',
    'x/8',
    '',
  ])('%j is no network', (text) => {
    expect(parseNetwork(text)).toBeUndefined()
  })
})
