// SPEC.md is what others implement from: its numbers and its history are those of the code.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import * as frames from '../../../core/tunnel/frame.ts'
import { LIMITS, type LimitName } from '../../../core/limits.ts'
import {
  SUBPROTOCOL,
  VERSION_HISTORY,
  VERSIONS,
  chooseVersion,
} from '../../../core/tunnel/version.ts'

// Columns of tables are padded: how wide they are means nothing.
const spec = readFileSync(new URL('../../../core/tunnel/SPEC.md', import.meta.url), 'utf8').replace(
  / +/g,
  ' ',
)

test('every frame type has its line', () => {
  for (const name of ['DATA', 'WINDOW', 'PING', 'GOAWAY', 'OPEN', 'OPENED', 'RESET'] as const)
    expect(spec).toContain(`| ${frames[name]} | ${name} |`)
})

test('the numbers a peer may rely on are the limits in force', () => {
  const section = /## 8\.[^#]*/.exec(spec)?.[0] ?? ''
  const stated = [...section.matchAll(/`(\w+)` ([\d,]+)( s)?/g)]
  expect(stated.length).toBe(13)
  for (const [, name, digits, unit] of stated) {
    const value = Number(digits?.replaceAll(',', '')) * (unit ? 1000 : 1)
    expect([name, LIMITS[name as LimitName].value]).toEqual([name, value])
  }
})

test('every version has its dated line, and the subprotocol its name', () => {
  for (const { version, date, what } of VERSION_HISTORY)
    expect(spec).toContain(`| ${version} | ${date} | ${what} |`)
  expect(spec).toContain(SUBPROTOCOL)
  expect(VERSIONS).toEqual(VERSION_HISTORY.map((v) => v.version).sort((a, b) => b - a))
})

test('the best common version is chosen, and none when there is none', () => {
  expect(chooseVersion([9, 1])).toBe(1)
  expect(chooseVersion([9])).toBeUndefined()
})

// Frames in hex, so that another implementation can be checked without ours.
test.each([
  [
    'DATA of 5 bytes with FIN on stream 1',
    frames.header(frames.DATA, frames.FIN, 1, 5),
    '010000010000000100000005',
  ],
  [
    'WINDOW of 256 KiB on stream 2',
    frames.header(frames.WINDOW, 0, 2, 262_144),
    '010100000000000200040000',
  ],
  ['PING 7', frames.header(frames.PING, 0, 0, 7), '010200000000000000000007'],
  ['answer to PING 7', frames.header(frames.PING, frames.REPLY, 0, 7), '010200010000000000000007'],
  ['GOAWAY, back in 5 s', frames.header(frames.GOAWAY, 0, 0, 5000), '010300000000000000001388'],
  [
    'OPEN of stream 3',
    Buffer.concat(frames.withPayload(frames.OPEN, 3, Buffer.from('{}'))),
    '0104000000000003000000027b7d',
  ],
])('%s is %s', (_what, bytes, hex) => {
  expect(bytes.toString('hex')).toBe(hex)
})
