// The profile directory: private, whole, and read by OpenSSH too.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { chmod, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  credentialOf,
  loadProfile,
  saveProfile,
  type Profile,
} from '../../../cli/connect/profile.ts'
import { generateKey } from '../../../core/certs/signer.ts'
import { toPem } from '../../../core/certs/x509-read.ts'
import { systemClock } from '../../../core/clock.ts'
import { missing, peer } from '../../support/peers.ts'
import { makeCa } from '../../support/pki.ts'
import { madeProfile } from '../../support/profile.ts'

let dir: string
let made: Profile
beforeEach(async () => {
  const root = mkdtempSync(join(tmpdir(), 'postern-profile-'))
  dir = join(root, 'profile')
  const now = systemClock.now()
  const [host, next] = [await makeCa('a', 'ES256', now), await makeCa('b', 'ES256', now)]
  made = await madeProfile({
    userCa: await makeCa('user CA', 'ES256', now),
    hostCas: [toPem(host.certificate.raw), toPem(next.certificate.raw)],
    policyKey: generateKey().publicKey,
  })
})
afterEach(() => rmSync(join(dir, '..'), { recursive: true, force: true }))

test('what was saved is loaded, private on disk, with nothing left over', async () => {
  await saveProfile(dir, { ...made, operatorKey: 'pst_key_x' })
  expect(await loadProfile(dir)).toEqual({ ...made, operatorKey: 'pst_key_x', dir, caVersion: 0 })
  expect((await stat(dir)).mode & 0o777).toBe(0o700)
  const names = await readdir(dir)
  expect(names.filter((name) => name.startsWith('.'))).toEqual([])
  for (const name of names) expect((await stat(join(dir, name))).mode & 0o077).toBe(0)
})

test('saving again replaces certificates, keeps the operator key and drops old routes', async () => {
  await saveProfile(dir, { ...made, operatorKey: 'pst_key_x' })
  await saveProfile(dir, { ...made, user: 'alice' })
  const loaded = await loadProfile(dir)
  expect(loaded.operatorKey).toBe('pst_key_x')
  expect(await readdir(dir)).not.toContain('routes')
})

test.each([
  'profile.json',
  'ca.pem',
  'key.pem',
  'user-x509.pem',
  'key.pem-cert.pub',
  'known_hosts',
  'ssh_config',
  'policy-keys.json',
])('a profile without %s is not whole, and says which file', async (name) => {
  await saveProfile(dir, made)
  await rm(join(dir, name))
  await expect(loadProfile(dir)).rejects.toMatchObject({
    code: 'ERR_PROFILE_MISSING',
    message: expect.stringContaining(name) as string,
  })
})

test.each([
  ['profile.json', '{'],
  ['profile.json', '[]'],
  ['profile.json', '{"v":2}'],
  ['policy-keys.json', '{}'],
  ['policy-keys.json', 'x'],
  ['key.pem', 'x'],
  ['user-x509.pem', 'x'],
  ['profile.json', 'x'.repeat(300_000)],
])('a broken %s (%#) is ERR_PROFILE_MISSING', async (name, text) => {
  await saveProfile(dir, made)
  await writeFile(join(dir, name), text)
  await expect(loadProfile(dir)).rejects.toMatchObject({ code: 'ERR_PROFILE_MISSING' })
})

test('a key that does not belong to the certificate, as after a crash, is found at once', async () => {
  await saveProfile(dir, made)
  const { privateKey } = generateKey()
  const other = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  await writeFile(join(dir, 'key.pem'), other)
  await expect(loadProfile(dir)).rejects.toMatchObject({ code: 'ERR_PROFILE_MISSING' })
})

test('no directory is ERR_PROFILE_MISSING', async () => {
  await expect(loadProfile(join(dir, 'none'))).rejects.toMatchObject({
    code: 'ERR_PROFILE_MISSING',
  })
})

// Attack: another user of the machine reads the key, or plants a CA.
test.each([0o750, 0o770, 0o701, 0o777])('a directory of mode %o is refused', async (mode) => {
  await saveProfile(dir, made)
  await chmod(dir, mode)
  await expect(loadProfile(dir)).rejects.toMatchObject({ code: 'ERR_DATA_DIR_UNSAFE' })
  await expect(saveProfile(dir, made)).rejects.toMatchObject({ code: 'ERR_DATA_DIR_UNSAFE' })
})

test.skipIf(missing('ssh-keygen'))('OpenSSH reads the private key', async () => {
  const stored = await saveProfile(dir, made)
  const line = execFileSync(peer('ssh-keygen'), ['-y', '-f', join(dir, 'key.pem')]).toString()
  expect(line).toMatch(/^ecdsa-sha2-nistp256 /)
  const { x } = credentialOf(stored).signer.publicKey.export({ format: 'jwk' })
  const blob = Buffer.from(line.split(' ')[1] ?? '', 'base64')
  expect(blob.includes(Buffer.from(x ?? '', 'base64url'))).toBe(true)
})
