/** What the SSH CAs refuse to sign, what verifiers refuse to take, and certificates that pose as keys. */
import { generateKeyPairSync } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { plus } from '../../../core/clock.ts'
import { generateKey, keySigner, type Signer } from '../../../core/certs/signer.ts'
import {
  issueSshCertificate,
  parseSshCertificate,
  type SshCertificateRequest,
} from '../../../core/certs/ssh-certificate.ts'
import { parsePublicKey, publicKeyBlob } from '../../../core/certs/ssh-key.ts'
import { verifySshCertificate, type VerifySshOptions } from '../../../core/certs/ssh-verify.ts'
import { nested, string, u32, u64 } from '../../../core/certs/ssh-wire.ts'
import { sshSignature } from '../../../core/certs/ssh-signature.ts'
import { LIMITS } from '../../../core/limits.ts'
import { failure, HOUR, NOW } from '../../support/pki.ts'

const ca = keySigner(generateKey().privateKey)
const subject = generateKey('EdDSA')
const request = (change: Partial<SshCertificateRequest> = {}): SshCertificateRequest => ({
  role: 'user',
  publicKey: subject.publicKey,
  keyId: 'alice',
  principals: ['alice', 'deploy'],
  validAfter: NOW,
  validBefore: plus(NOW, HOUR),
  ...change,
})
let good: Buffer
beforeAll(async () => {
  good = await issueSshCertificate(request(), ca)
})

describe('the CA refuses to sign', () => {
  test.each<[string, Partial<SshCertificateRequest>]>([
    // To sshd an empty list is everybody.
    ['CVE-2024-7594 (Vault): no principals', { principals: [] }],
    ['the principal *', { principals: ['*'] }],
    ['a principal with a wildcard', { principals: ['web-*'] }],
    ['an empty principal', { principals: [''] }],
    ['a principal with a space', { principals: ['alice root'] }],
    ['a principal with a comma', { principals: ['alice,root'] }],
    ['a principal with a zero byte', { principals: ['root\0x'] }],
    ['a principal with a line end', { principals: ['alice\nroot'] }],
    ['a principal twice', { principals: ['alice', 'alice'] }],
    [
      'too many principals',
      { principals: Array.from({ length: LIMITS.certPrincipals.value + 1 }, (_, i) => `u${i}`) },
    ],
    ['an unknown critical option', { criticalOptions: { 'verify-everything': 'yes' } }],
    ['a source-address that is no network', { criticalOptions: { 'source-address': 'home' } }],
    [
      'a source-address with bits behind its prefix',
      { criticalOptions: { 'source-address': '192.0.2.1/24' } },
    ],
    ['an empty force-command', { criticalOptions: { 'force-command': '' } }],
    ['a critical option for a host', { role: 'host', criticalOptions: { 'force-command': 'x' } }],
    ['an extension without a name', { extensions: { '': '' } }],
    ['an empty key id', { keyId: '' }],
    ['a key id with a line end', { keyId: 'alice\nroot' }],
    ['an end before the beginning', { validBefore: plus(NOW, -1) }],
    ['a private key', { publicKey: subject.privateKey }],
    [
      'an RSA key object',
      { publicKey: generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey },
    ],
    ['bytes that are no key', { publicKey: Buffer.from('hello') }],
    ['the key of the CA itself', { publicKey: ca.publicKey }],
    ['more than certSize', { extensions: { 'big@postern': 'x'.repeat(LIMITS.certSize.value) } }],
  ])('%s', async (_name, change) => {
    expect((await failure(() => issueSshCertificate(request(change), ca)))?.code).toBe(
      'ERR_CERT_REQUEST_REFUSED',
    )
  })

  test('a certificate for a certificate', async () => {
    const result = await failure(() => issueSshCertificate(request({ publicKey: good }), ca))
    expect(result).toEqual({
      code: 'ERR_CERT_REQUEST_REFUSED',
      reason: 'publicKey: a bare public key is needed',
    })
  })

  test.each([
    ['user', LIMITS.userCertTtl.value],
    ['host', LIMITS.agentCertTtl.value],
  ] as const)('a lifetime above the limit for a %s', async (role, ttl) => {
    const longest = {
      role,
      validAfter: plus(NOW, -LIMITS.certBackdate.value),
      validBefore: plus(NOW, ttl),
    }
    await issueSshCertificate(request(longest), ca)
    const longer = { ...longest, validBefore: plus(longest.validBefore, 1000) }
    expect((await failure(() => issueSshCertificate(request(longer), ca)))?.code).toBe(
      'ERR_CERT_TTL_TOO_LONG',
    )
  })
})

const held: VerifySshOptions = {
  cas: [publicKeyBlob(ca.publicKey)],
  role: 'user',
  principal: 'alice',
  now: NOW,
}
const verdict = async (
  change: Partial<SshCertificateRequest>,
  options: Partial<VerifySshOptions> = {},
  by: Signer = ca,
) =>
  verifySshCertificate(parseSshCertificate(await issueSshCertificate(request(change), by)), {
    ...held,
    ...options,
  })

describe('a certificate', () => {
  test('holds for its principals while it is in force', async () => {
    for (const principal of ['alice', 'deploy'])
      expect(await verdict({}, { principal })).toBeUndefined()
    expect(await verdict({ role: 'host' }, { role: 'host' })).toBeUndefined()
  })

  test.each<[string, Partial<SshCertificateRequest>, Partial<VerifySshOptions>]>([
    ['wrong role', { role: 'host' }, {}],
    ['wrong role', {}, { role: 'host' }],
    ['unknown CA', {}, { cas: [] }],
    ['unknown CA', {}, { cas: [publicKeyBlob(generateKey().publicKey)] }],
    ['not yet valid', {}, { now: plus(NOW, -1000) }],
    ['expired', {}, { now: plus(NOW, HOUR) }],
    ['principal not listed', {}, { principal: 'root' }],
    ['principal not listed', {}, { principal: '' }],
    ['unknown critical option', { criticalOptions: { 'force-command': 'true' } }, {}],
    ['source address not allowed', { criticalOptions: { 'source-address': '192.0.2.0/24' } }, {}],
    [
      'source address not allowed',
      { criticalOptions: { 'source-address': '192.0.2.0/24' } },
      { sourceAddress: '192.0.3.1' },
    ],
    [
      'source address not allowed',
      { criticalOptions: { 'source-address': '192.0.2.0/24' } },
      { sourceAddress: '::1' },
    ],
  ])('is refused: %s %j', async (reason, change, options) => {
    expect(await verdict(change, options)).toBe(reason)
  })

  test('CVE-2026-46595 (x/crypto): bound to addresses holds from there, also when IPv4 is written as IPv6', async () => {
    const change = { criticalOptions: { 'source-address': '192.0.2.0/24,2001:db8::/32' } }
    for (const sourceAddress of ['192.0.2.9', '::ffff:192.0.2.9', '2001:db8:1::5'])
      expect(await verdict(change, { sourceAddress })).toBeUndefined()
  })

  test('CVE-2026-39828 (x/crypto): with a forced command holds only for a caller that enforces it', async () => {
    const change = { criticalOptions: { 'force-command': 'uptime' } }
    expect(await verdict(change, { honours: ['force-command'] })).toBeUndefined()
  })

  test('is refused after any change to a byte of it', () => {
    for (let at = 0; at < good.length; at++) {
      const broken = Buffer.from(good)
      broken.writeUInt8(broken.readUInt8(at) ^ 1, at)
      let result: string | undefined
      try {
        result = verifySshCertificate(parseSshCertificate(broken), held)
      } catch (e) {
        result = (e as { code: string }).code
      }
      expect(result, `byte ${at}`).toBeDefined()
    }
  })

  test('is refused at every truncation and with a byte more', async () => {
    for (let length = 0; length < good.length; length++)
      expect((await failure(() => parseSshCertificate(good.subarray(0, length))))?.code).toBe(
        'ERR_CERT_INVALID',
      )
    const longer = Buffer.concat([good, Buffer.of(0)])
    expect((await failure(() => parseSshCertificate(longer)))?.code).toBe('ERR_CERT_INVALID')
  })
})

/** A certificate body with everything in the caller's hand, signed by `signer`. */
async function handmade(
  signer: Signer,
  change: {
    caBlob?: Buffer
    principals?: Buffer
    options?: Buffer
    role?: number
    reserved?: Buffer
  },
) {
  const body = Buffer.concat([
    string('ssh-ed25519-cert-v01@openssh.com'),
    string(Buffer.alloc(32)),
    publicKeyBlob(subject.publicKey).subarray(4 + 'ssh-ed25519'.length),
    u64(1n),
    u32(change.role ?? 1),
    string('alice'),
    change.principals ?? nested(string('alice')),
    u64(BigInt(NOW / 1000)),
    u64(BigInt(NOW / 1000 + 3600)),
    change.options ?? string(''),
    string(''),
    change.reserved ?? string(''),
    string(change.caBlob ?? publicKeyBlob(signer.publicKey)),
  ])
  return Buffer.concat([body, string(await sshSignature(signer, body))])
}

test('the handmade certificate is good when nothing is changed', async () => {
  expect(verifySshCertificate(parseSshCertificate(await handmade(ca, {})), held)).toBeUndefined()
})

describe('a certificate is refused', () => {
  test.each<[string, Parameters<typeof handmade>[1]]>([
    ['that is neither for a user nor a host', { role: 3 }],
    ['with a truncated principal', { principals: string(u32(9)) }],
    ['with a control character in a principal', { principals: nested(string('root\n')) }],
    ['with a principal that is not UTF-8', { principals: nested(string(Buffer.of(0xff))) }],
    [
      'with too many principals',
      { principals: nested(...Array.from({ length: 65 }, (_, i) => string(`u${i}`))) },
    ],
    [
      'with options out of order',
      { options: nested(string('b'), string(''), string('a'), string('')) },
    ],
    ['with an option twice', { options: nested(string('a'), string(''), string('a'), string('')) }],
    [
      'with bytes behind the value of an option',
      { options: nested(string('a'), nested(string('x'), Buffer.of(1))) },
    ],
    ['with a length of 4 GB', { options: u32(0xffff_ffff) }],
  ])('%s', async (_name, change) => {
    const blob = await handmade(ca, change)
    expect((await failure(() => parseSshCertificate(blob)))?.code).toBe('ERR_CERT_INVALID')
  })

  test('without principals, although its CA signed it', async () => {
    for (const [role, number] of [
      ['user', 1],
      ['host', 2],
    ] as const) {
      const blob = await handmade(ca, { principals: string(''), role: number })
      const options = { cas: held.cas, now: NOW, role }
      expect(verifySshCertificate(parseSshCertificate(blob), options)).toBe('no principals')
    }
  })

  test('whose own key is that of nobody pinned, whatever it claims', async () => {
    const rogue = keySigner(generateKey().privateKey)
    const blob = await handmade(rogue, { caBlob: publicKeyBlob(ca.publicKey) })
    expect(verifySshCertificate(parseSshCertificate(blob), held)).toBe('bad signature')
  })
})

// A certificate offered where a CA key belongs was accepted, so that any user could act as the CA.
describe('CVE-2025-49825 (Teleport): a certificate never stands for a key', () => {
  const KINDS = ['ES256', 'EdDSA'] as const
  test.each(KINDS.flatMap((a) => KINDS.map((b) => [a, b] as const)))(
    'as the CA of another certificate (%s user, %s CA)',
    async (userKind, caKind) => {
      const realCa = keySigner(generateKey(caKind).privateKey)
      const attacker = keySigner(generateKey(userKind).privateKey)
      for (const role of ['user', 'host'] as const) {
        const own = await issueSshCertificate(
          request({ role, publicKey: attacker.publicKey }),
          realCa,
        )
        const forged = await handmade(attacker, { caBlob: own })
        expect((await failure(() => parseSshCertificate(forged)))?.reason).toMatch(/not a key type/)
        // Not even a verifier that was configured with a certificate as its CA takes the attacker's key.
        const bare = parseSshCertificate(await handmade(attacker, {}))
        expect(verifySshCertificate(bare, { ...held, cas: [own] })).toBe('unknown CA')
      }
    },
  )

  test('as a public key, directly or as the key inside a certificate', async () => {
    expect((await failure(() => parsePublicKey(good)))?.reason).toMatch(/not a key type/)
    const twice = Buffer.concat([
      string('ssh-ed25519-cert-v01@openssh.com-cert-v01@openssh.com'),
      string(Buffer.alloc(32)),
      good,
    ])
    expect((await failure(() => parseSshCertificate(twice)))?.reason).toMatch(/not a key type/)
  })
})
