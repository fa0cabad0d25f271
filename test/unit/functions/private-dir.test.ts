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
import { instant } from '../../../core/clock.ts'
import { caPin, thumbprint } from '../../../core/certs/signer.ts'
import { systemRandom } from '../../../core/random.ts'
import { fileKeyring, fileSecret, fileSigner } from '../../../functions/signers/file.ts'

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

describe('the keys of a directory', () => {
  const key = (pin: string, ref = 'host') => ({
    ref,
    pin,
    created: instant(0),
    certificate: undefined,
    jwk: undefined,
  })
  test('open only as what the table says they are', async () => {
    const keyring = fileKeyring(dir, systemRandom)
    const { ref, signer } = await keyring.create('host')
    const same = await keyring.open('host', key(caPin(signer.publicKey), ref))
    expect(thumbprint(same.publicKey)).toBe(thumbprint(signer.publicKey))
    await expect(keyring.open('host', key('sha256:00', ref))).rejects.toThrow(/not the key of/)
    await expect(keyring.open('user', key(caPin(signer.publicKey), ref))).rejects.toThrow(/no key/)
  })
  test('are never made anew in the place of one that is missing', async () => {
    const keyring = fileKeyring(dir, systemRandom)
    await expect(keyring.open('host', key('sha256:00'))).rejects.toThrow(/is missing/)
  })
  test('are deleted when they are retired, and only inside the directory', async () => {
    const keyring = fileKeyring(dir, systemRandom)
    const { ref } = await keyring.create('user')
    expect(readdirSync(dir)).toEqual([`${ref}.key.pem`])
    await keyring.retire('user', key('', ref))
    expect(readdirSync(dir)).toEqual([])
    await expect(keyring.retire('user', key('', 'user-../../x'))).rejects.toThrow(/no key/)
  })
})

test('the sealing secret has 32 bytes and stays', () => {
  const secret = fileSecret(dir, systemRandom)
  expect(secret).toHaveLength(32)
  expect(fileSecret(dir, systemRandom).equals(secret)).toBe(true)
})
