/** CA keys in files: private, whole or absent, the same for everyone who opens them. */
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { readCertificate } from '../../../core/certs/x509-read.ts'
import { thumbprint } from '../../../core/certs/signer.ts'
import { systemRandom } from '../../../core/random.ts'
import { fileAuthority, fileSecret, fileSigner } from '../../../functions/signers/file.ts'
import { handClock } from '../../support/clock.ts'

const root = mkdtempSync(join(tmpdir(), 'postern-keys-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
let dir = ''
let n = 0
beforeEach(() => {
  dir = join(root, `d${++n}`)
})
const mode = (path: string): number => statSync(path).mode & 0o777

describe('a key file', () => {
  test('is made on first use: 0600 in a directory of 0700, and kept', () => {
    const one = fileSigner(dir, 'host', systemRandom)
    const two = fileSigner(dir, 'host', systemRandom)
    expect(thumbprint(one.publicKey)).toBe(thumbprint(two.publicKey))
    expect(mode(dir)).toBe(0o700)
    expect(mode(join(dir, 'host.key.pem'))).toBe(0o600)
    expect(readdirSync(dir)).toEqual(['host.key.pem'])
  })
  test.each([0o640, 0o604, 0o620])('of mode %o is refused', (wrong) => {
    fileSigner(dir, 'host', systemRandom)
    chmodSync(join(dir, 'host.key.pem'), wrong)
    expect(() => fileSigner(dir, 'host', systemRandom)).toThrow(
      expect.objectContaining({ code: 'ERR_DATA_DIR_UNSAFE' }),
    )
  })
  test.each([0o750, 0o755, 0o707])('in a directory of mode %o is refused', (wrong) => {
    fileSigner(dir, 'host', systemRandom)
    chmodSync(dir, wrong)
    expect(() => fileSigner(dir, 'host', systemRandom)).toThrow(/chmod 700/)
  })
  test('that is a link is refused', () => {
    fileSigner(dir, 'other', systemRandom)
    symlinkSync(join(dir, 'other.key.pem'), join(dir, 'host.key.pem'))
    expect(() => fileSigner(dir, 'host', systemRandom)).toThrow(/not a file/)
  })
  test('that is no key is refused and left as it is', () => {
    fileSigner(dir, 'other', systemRandom)
    writeFileSync(join(dir, 'host.key.pem'), 'no key', { mode: 0o600 })
    expect(() => fileSigner(dir, 'host', systemRandom)).toThrow(/not a private key/)
  })
})

test('a CA keeps its certificate, byte for byte, and it is of its key', async () => {
  const deps = { clock: handClock(), random: systemRandom }
  const ca = { file: 'host', commonName: 'Postern host CA' }
  const one = await fileAuthority(dir, ca, deps)
  deps.clock.advance(1e9)
  const two = await fileAuthority(dir, ca, deps)
  expect(two.certificate.raw.equals(one.certificate.raw)).toBe(true)
  expect(readCertificate(one.certificate.raw)).toMatchObject({
    isCa: true,
    subject: 'Postern host CA',
  })
  expect(thumbprint(one.signer.publicKey)).toBe(one.certificate.thumbprint)
})

test('the sealing secret has 32 bytes and stays', () => {
  const secret = fileSecret(dir, systemRandom)
  expect(secret).toHaveLength(32)
  expect(fileSecret(dir, systemRandom).equals(secret)).toBe(true)
})
