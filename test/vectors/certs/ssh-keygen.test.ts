/** Do OpenSSH's own tools agree about our SSH keys and certificates, and we about theirs? */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { instant, plus } from '../../../core/clock.ts'
import { generateKey, keySigner } from '../../../core/certs/signer.ts'
import { issueSshCertificate, parseSshCertificate } from '../../../core/certs/ssh-certificate.ts'
import {
  authorizedKey,
  parsePublicKey,
  publicKeyBlob,
  sshFingerprint,
} from '../../../core/certs/ssh-key.ts'
import { exportSshPrivateKey } from '../../../core/certs/ssh-private-key.ts'
import { verifySshCertificate } from '../../../core/certs/ssh-verify.ts'
import { userSshExtensions } from '../../../core/certs/identity.ts'
import { ALICE, HOUR, NOW } from '../../support/pki.ts'

let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'postern-keygen-'))
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const keygen = (...args: string[]): string =>
  execFileSync('ssh-keygen', args, {
    cwd: dir,
    encoding: 'utf8',
    env: { ...process.env, TZ: 'UTC' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
const blobOf = (file: string): Buffer =>
  Buffer.from(readFileSync(join(dir, file), 'utf8').split(' ')[1] ?? '', 'base64')

const KINDS = ['ES256', 'EdDSA'] as const

describe.each(KINDS)('a CA with %s', (caKind) => {
  describe.each(KINDS)('and a key with %s', (kind) => {
    test.each(['user', 'host'] as const)(
      'signs a %s certificate that ssh-keygen reads as meant',
      async (role) => {
        const ca = keySigner(generateKey(caKind).privateKey)
        const subject = generateKey(kind)
        const blob = await issueSshCertificate(
          {
            role,
            publicKey: subject.publicKey,
            keyId: 'alice@example.com',
            principals: ['alice', 'web-1.demo'],
            validAfter: NOW,
            validBefore: plus(NOW, HOUR),
            serial: 2n ** 63n + 5n,
            criticalOptions:
              role === 'user' ? { 'source-address': '192.0.2.0/24,2001:db8::/32' } : {},
            extensions: role === 'user' ? { 'permit-pty': '', ...userSshExtensions(ALICE) } : {},
          },
          ca,
        )
        writeFileSync(join(dir, 'id-cert.pub'), authorizedKey(blob) + '\n')
        const text = keygen('-L', '-f', 'id-cert.pub')
        expect(text).toContain(`-cert-v01@openssh.com ${role} certificate`)
        expect(text).toContain(
          `Public key: ${kind === 'ES256' ? 'ECDSA' : 'ED25519'}-CERT ${sshFingerprint(publicKeyBlob(subject.publicKey))}`,
        )
        expect(text).toContain(
          `Signing CA: ${caKind === 'ES256' ? 'ECDSA' : 'ED25519'} ${sshFingerprint(publicKeyBlob(ca.publicKey))}`,
        )
        expect(text).toContain('Key ID: "alice@example.com"')
        expect(text).toContain('Serial: 9223372036854775813')
        expect(text).toContain('Valid: from 2026-11-23T12:00:00 to 2026-11-23T13:00:00')
        expect(text).toMatch(/Principals: \n\s+alice\n\s+web-1\.demo\n/)
        if (role === 'host') return
        expect(text).toContain('source-address 192.0.2.0/24,2001:db8::/32')
        expect(text).toContain('permit-pty')
        expect(text).toContain('roles@postern UNKNOWN OPTION')
      },
    )
  })
})

test.each([
  ['ed25519', []],
  ['ecdsa', ['-b', '256']],
  ['ecdsa', ['-b', '384']],
  ['ecdsa', ['-b', '521']],
  ['rsa', ['-b', '2048']],
])('a certificate that ssh-keygen signs with %s %j holds for us', (type, size) => {
  const name = `their-${type}${size.join('')}`
  keygen('-q', '-t', type, ...size, '-N', '', '-f', `${name}-ca`)
  keygen('-q', '-t', type, ...size, '-N', '', '-f', name)
  keygen(
    '-q',
    '-s',
    `${name}-ca`,
    '-I',
    'bob',
    '-n',
    'bob,root',
    '-V',
    '+1h',
    '-z',
    '7',
    `${name}.pub`,
  )
  const certificate = parseSshCertificate(blobOf(`${name}-cert.pub`))
  expect(certificate.publicKey.blob.equals(blobOf(`${name}.pub`))).toBe(true)
  expect([...certificate.extensions.keys()]).toContain('permit-port-forwarding')
  const held = { cas: [blobOf(`${name}-ca.pub`)], role: 'user', principal: 'bob' } as const
  expect(
    verifySshCertificate(certificate, { ...held, now: plus(certificate.validAfter, HOUR / 2) }),
  ).toBeUndefined()
  expect(verifySshCertificate(certificate, { ...held, now: certificate.validBefore })).toBe(
    'expired',
  )
})

test('a certificate without end is read as one that ends in the far future', () => {
  keygen('-q', '-t', 'ed25519', '-N', '', '-f', 'forever')
  keygen('-q', '-s', 'forever', '-I', 'x', '-n', 'x', 'forever.pub')
  const { validBefore } = parseSshCertificate(blobOf('forever-cert.pub'))
  expect(validBefore).toBeGreaterThan(instant(Date.UTC(9999, 0, 1)))
})

test.each(KINDS)('a private key with %s that we export is one that ssh-keygen opens', (kind) => {
  const { privateKey, publicKey } = generateKey(kind)
  const file = join(dir, `exported-${kind}`)
  writeFileSync(file, exportSshPrivateKey(privateKey, 'alice'), { mode: 0o600 })
  const [, base64 = '', comment] = keygen('-y', '-f', file).trim().split(' ')
  expect(base64).toBe(publicKeyBlob(publicKey).toString('base64'))
  expect(comment).toBe('alice')
})

test('fingerprints are those that ssh-keygen prints', () => {
  keygen('-q', '-t', 'ed25519', '-N', '', '-f', 'print')
  expect(keygen('-l', '-f', 'print.pub')).toContain(sshFingerprint(blobOf('print.pub')))
  expect(parsePublicKey(blobOf('print.pub')).type).toBe('ssh-ed25519')
})
