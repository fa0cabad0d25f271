/** One-field-broken corpus: a certificate that differs from a good one in one part is refused, and the audit log learns which. */
import { generateKeyPairSync } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import {
  bitString,
  contextual,
  contextualPrimitive,
  integer,
  oid,
  sequence,
  set,
  time,
  tlv,
  TRUE,
  utf8String,
} from '../../../core/certs/der.ts'
import { plus } from '../../../core/clock.ts'
import { OID } from '../../../core/certs/oids.ts'
import { generateKey, keySigner } from '../../../core/certs/signer.ts'
import { readCertificate, toPem } from '../../../core/certs/x509-read.ts'
import { verifyLeaf } from '../../../core/certs/x509-verify.ts'
import { LIMITS } from '../../../core/limits.ts'
import { agentLeaf, failure, HOUR, makeCa, NOW, type Ca } from '../../support/pki.ts'
import { ext, forge, GOOD_URI, uri, type Change } from './forge.ts'

let ca: Ca
let other: Ca
beforeAll(async () => {
  ca = await makeCa('host CA')
  other = await makeCa('host CA')
})

const judge = async (change: Change, now = NOW) =>
  failure(async () => {
    const certificate = readCertificate(await forge(ca, change))
    verifyLeaf(certificate, { roots: [ca.certificate], now, usage: 'client' })
  })

test('the unbroken certificate of the corpus is accepted', async () => {
  expect(await judge({})).toBeUndefined()
})

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({
  type: 'spki',
  format: 'der',
})
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({
  type: 'spki',
  format: 'der',
})
const flip = (at: number) => (der: Buffer) => {
  const copy = Buffer.from(der)
  copy.writeUInt8((copy.at(at) ?? 0) ^ 1, at < 0 ? copy.length + at : at)
  return copy
}

describe('a certificate is refused', () => {
  test.each<[string, Change, RegExp]>([
    ['in version 1', { parts: { version: contextual(0, integer(Buffer.of(0))) } }, /version/],
    ['with a negative serial', { parts: { serial: Buffer.of(2, 1, 0x80) } }, /negative/],
    ['with a serial of 21 bytes', { parts: { serial: integer(Buffer.alloc(21, 1)) } }, /serial/],
    ['with a padded serial', { parts: { serial: Buffer.of(2, 2, 0, 1) } }, /minimal/],
    [
      'with another algorithm inside',
      { parts: { algorithm: sequence(oid(OID.ed25519)) } },
      /two sig/,
    ],
    [
      'with SHA-1',
      { parts: { outerAlgorithm: sequence(oid('1.2.840.10045.4.1')) } },
      /algorithm is/,
    ],
    [
      'with algorithm parameters',
      { parts: { outerAlgorithm: sequence(oid(OID.ecdsaWithSha256), Buffer.of(5, 0)) } },
      /trailing/,
    ],
    [
      'of another issuer name',
      { parts: { issuer: sequence(set(sequence(oid(OID.commonName), utf8String('x')))) } },
      /not a pinned/,
    ],
    [
      'with validity in local time',
      {
        parts: {
          validity: sequence(tlv(0x17, Buffer.from('261123120000+0100')), time(plus(NOW, HOUR))),
        },
      },
      /time/,
    ],
    [
      'with the 31st of April',
      {
        parts: {
          validity: sequence(tlv(0x17, Buffer.from('260431000000Z')), time(plus(NOW, HOUR))),
        },
      },
      /no such time/,
    ],
    [
      'not valid yet',
      { parts: { validity: sequence(time(plus(NOW, 1000)), time(plus(NOW, HOUR))) } },
      /not valid yet/,
    ],
    [
      'expired this very second',
      { parts: { validity: sequence(time(plus(NOW, -HOUR)), time(NOW)) } },
      /expired/,
    ],
    ['for an RSA key', { parts: { key: rsa } }, /public key/],
    ['for a P-384 key', { parts: { key: p384 } }, /public key/],
    ['with bytes after its body', { parts: { tail: Buffer.of(5, 0) } }, /trailing/],
    [
      'with a name of an unknown kind of text',
      { parts: { subject: sequence(set(sequence(oid('2.5.4.10'), tlv(0, Buffer.of(1))))) } },
      /kind of text/,
    ],
    [
      'as a CA',
      { extensions: { constraints: ext(OID.basicConstraints, sequence(TRUE), true) } },
      /CA certificate/,
    ],
    [
      'with CA:FALSE written out',
      {
        extensions: { constraints: ext(OID.basicConstraints, sequence(Buffer.of(1, 1, 0)), true) },
      },
      /default/,
    ],
    [
      'with a boolean of 1',
      {
        extensions: { constraints: ext(OID.basicConstraints, sequence(Buffer.of(1, 1, 1)), true) },
      },
      /boolean/,
    ],
    ['without keyUsage', { extensions: { keyUsage: Buffer.alloc(0) } }, /keyUsage/],
    [
      'for signing certificates',
      { extensions: { keyUsage: ext(OID.keyUsage, bitString(Buffer.of(4), 2), true) } },
      /keyUsage/,
    ],
    ['without extendedKeyUsage', { extensions: { eku: Buffer.alloc(0) } }, /extendedKeyUsage/],
    [
      'for servers only',
      { extensions: { eku: ext(OID.extendedKeyUsage, sequence(oid(OID.serverAuth))) } },
      /clientAuth/,
    ],
    [
      'with an empty anyExtendedKeyUsage',
      { extensions: { eku: ext(OID.extendedKeyUsage, sequence(oid('2.5.29.37.0'))) } },
      /clientAuth/,
    ],
    ['without a URI', { extensions: { san: Buffer.alloc(0) } }, /0 URI/],
    [
      'with two URIs',
      { extensions: { san: ext(OID.subjectAltName, sequence(uri(GOOD_URI), uri(GOOD_URI))) } },
      /2 URI/,
    ],
    [
      'with a zero byte in a name',
      { extensions: { san: ext(OID.subjectAltName, sequence(uri(`${GOOD_URI}\0.evil`))) } },
      /characters/,
    ],
    [
      'with a mail address as a name',
      {
        extensions: {
          san: ext(OID.subjectAltName, sequence(contextualPrimitive(1, Buffer.from('a@b')))),
        },
      },
      /kind of an alt/,
    ],
    [
      'with an IP address of 5 bytes',
      {
        extensions: {
          san: ext(
            OID.subjectAltName,
            sequence(uri(GOOD_URI), contextualPrimitive(7, Buffer.alloc(5))),
          ),
        },
      },
      /IP address/,
    ],
    [
      'with one extension twice',
      { extensions: { more: ext(OID.subjectAltName, sequence(uri(GOOD_URI))) } },
      /twice/,
    ],
    [
      'with an unknown critical extension',
      { extensions: { more: ext('1.2.3.4', Buffer.of(5, 0), true) } },
      /unknown critical extension 1\.2\.3\.4/,
    ],
    [
      'with a key id of another CA',
      {
        extensions: {
          more: ext(OID.authorityKeyIdentifier, sequence(contextualPrimitive(0, Buffer.alloc(20)))),
        },
      },
      /not a pinned/,
    ],
    [
      'with bytes after its end',
      { finish: (der) => Buffer.concat([der, Buffer.of(0)]) },
      /trailing/,
    ],
    ['without its last byte', { finish: (der) => der.subarray(0, -1) }, /truncated/],
    ['with one bit of its body changed', { finish: flip(60) }, /./],
  ])('%s', async (_name, change, reason) => {
    const result = await judge(change)
    expect(result?.code).toBe('ERR_CERT_INVALID')
    expect(result?.reason).toMatch(reason)
  })

  // Of what was presented only the names were compared.
  test('CVE-2025-6037, CVE-2024-2048 (Vault): when another key of the same name signed it', async () => {
    expect((await judge({ signer: other.signer }))?.reason).toMatch(/signature of the CA/)
  })

  test('CVE-2025-49825 (Teleport): when a leaf of the CA signed it', async () => {
    const leaf = await agentLeaf(ca)
    const child = await forge(ca, {
      parts: { issuer: leaf.certificate.parts.subject },
      signer: leaf.signer,
    })
    const roots = [ca.certificate, leaf.certificate]
    const result = await failure(() =>
      verifyLeaf(readCertificate(child), { roots, now: NOW, usage: 'client' }),
    )
    expect(result?.reason).toMatch(/not a pinned CA/)
  })

  test('when the CA itself has expired', async () => {
    const late = plus(ca.certificate.notAfter, 1000)
    const validity = sequence(time(NOW), time(plus(late, HOUR)))
    expect((await judge({ parts: { validity } }, late))?.reason).toMatch(
      /CA certificate is not in force/,
    )
  })

  test('when there is no CA at all', async () => {
    const { certificate } = await agentLeaf(ca)
    const result = await failure(() =>
      verifyLeaf(certificate, { roots: [], now: NOW, usage: 'client' }),
    )
    expect(result?.reason).toMatch(/not a pinned CA/)
  })
})

test('during a rotation both CAs count, and each only for what it signed', async () => {
  const old = await agentLeaf(ca)
  const fresh = await agentLeaf(other)
  const both = { roots: [other.certificate, ca.certificate], now: NOW, usage: 'server' } as const
  verifyLeaf(old.certificate, both)
  verifyLeaf(fresh.certificate, both)
  const result = await failure(() =>
    verifyLeaf(old.certificate, { ...both, roots: [other.certificate] }),
  )
  expect(result?.code).toBe('ERR_CERT_INVALID')
})

test.each<[string, string | Buffer]>([
  ['nothing', ''],
  ['two PEM blocks', ''],
  ['a block of another kind', '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n'],
  ['more than certSize', Buffer.alloc(LIMITS.certSize.value + 1, 0x30)],
  ['a PEM text beyond any certificate', 'A'.repeat(LIMITS.certSize.value * 2)],
])('%s is not read as a certificate', async (name, input) => {
  const pem = toPem((await agentLeaf(ca)).certificate.raw)
  const result = await failure(() => readCertificate(name === 'two PEM blocks' ? pem + pem : input))
  expect(result?.code).toBe('ERR_CERT_INVALID')
})

test('a message of ours about a bad certificate does not tell the caller why', async () => {
  const key = keySigner(generateKey().privateKey)
  try {
    verifyLeaf(readCertificate(await forge(ca, { signer: key })), {
      roots: [ca.certificate],
      now: NOW,
      usage: 'client',
    })
    expect.unreachable()
  } catch (e) {
    expect((e as Error).message).toBe('The certificate does not hold')
  }
})
