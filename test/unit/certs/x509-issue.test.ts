/** What the X.509 CAs refuse to sign, and what comes back from what they do. */
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { instant, plus } from '../../../core/clock.ts'
import { octetString } from '../../../core/certs/der.ts'
import { userExtension } from '../../../core/certs/identity.ts'
import { OID } from '../../../core/certs/oids.ts'
import { generateKey, spki, thumbprint } from '../../../core/certs/signer.ts'
import {
  createCaCertificate,
  issueCertificate,
  type CertificateRequest,
} from '../../../core/certs/x509.ts'
import { readCertificate, toPem } from '../../../core/certs/x509-read.ts'
import { LIMITS } from '../../../core/limits.ts'
import { ALICE, CLUSTER, failure, HOUR, makeCa, NOW, type Ca } from '../../support/pki.ts'
import { GOOD_URI } from './forge.ts'

let ca: Ca
beforeAll(async () => {
  ca = await makeCa('host CA')
})
const request = (change: Partial<CertificateRequest> = {}): CertificateRequest => ({
  subject: 'web-1',
  publicKey: generateKey().publicKey,
  issuer: ca,
  notBefore: NOW,
  notAfter: plus(NOW, HOUR),
  uris: [GOOD_URI],
  usage: ['client'],
  ...change,
})

const compressed = (publicKey: KeyObject): KeyObject => {
  const point = publicKey.export({ type: 'spki', format: 'der' }).subarray(26)
  const x = point.subarray(1, 33)
  const sign = 2 + ((point.at(-1) ?? 0) & 1)
  const head = Buffer.from('3039301306072a8648ce3d020106082a8648ce3d030107032200', 'hex')
  return createPublicKey({
    key: Buffer.concat([head, Buffer.of(sign), x]),
    format: 'der',
    type: 'spki',
  })
}

describe('the CA refuses to sign', () => {
  test.each<[string, Partial<CertificateRequest>]>([
    ['an empty subject', { subject: '' }],
    ['a subject with a line end', { subject: 'a\nb' }],
    ['a private key', { publicKey: generateKey().privateKey }],
    ['an RSA key', { publicKey: generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey }],
    ['a P-384 key', { publicKey: generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey }],
    ['an end before the beginning', { notAfter: plus(NOW, -1) }],
    ['a beginning that is no time', { notBefore: instant(NaN) }],
    ['no usage', { usage: [] }],
    ['two URIs', { uris: [GOOD_URI, GOOD_URI] }],
    ['a URI that is not SPIFFE', { uris: ['https://example.com/'] }],
    ['a SPIFFE id that is not canonical', { uris: [GOOD_URI + '/'] }],
    ['a wildcard DNS name', { dns: ['*.demo.postern'] }],
    ['a DNS name with a zero byte', { dns: ['a\0.b'] }],
    ['a DNS name in upper case', { dns: ['Web'] }],
    ['an IP address with leading zeros', { ips: ['127.0.0.01'] }],
    [
      'an extension that is the CA’s to write',
      { extension: { oid: OID.basicConstraints, critical: true, value: Buffer.of(0x30, 0) } },
    ],
    [
      'more than certSize',
      {
        extension: {
          oid: '1.2.3',
          critical: false,
          value: octetString(Buffer.alloc(LIMITS.certSize.value)),
        },
      },
    ],
  ])('%s', async (_name, change) => {
    expect((await failure(() => issueCertificate(request(change))))?.code).toBe(
      'ERR_CERT_REQUEST_REFUSED',
    )
  })

  test('its own key', async () => {
    const { publicKey } = ca.signer
    expect((await failure(() => issueCertificate(request({ publicKey }))))?.code).toBe(
      'ERR_CERT_REQUEST_REFUSED',
    )
  })

  test.each([
    ['an agent', GOOD_URI, LIMITS.agentCertTtl.value],
    [
      'a proxy',
      `spiffe://${CLUSTER}/proxy/px_01jd00000000000000000000pp`,
      LIMITS.agentCertTtl.value,
    ],
    ['a user', `spiffe://${CLUSTER}/user/alice`, LIMITS.userCertTtl.value],
  ])('a lifetime above the limit for %s', async (_name, uri, ttl) => {
    const longest = {
      uris: [uri],
      notBefore: plus(NOW, -LIMITS.certBackdate.value),
      notAfter: plus(NOW, ttl),
    }
    await issueCertificate(request(longest))
    const longer = { ...longest, notAfter: plus(longest.notAfter, 1000) }
    expect((await failure(() => issueCertificate(request(longer))))?.code).toBe(
      'ERR_CERT_TTL_TOO_LONG',
    )
  })
})

// Two thumbprints for one key would let it enrol twice.
test('a key whose point is compressed is not certified, since it would be a second form of the same key', async () => {
  const publicKey = compressed(generateKey().publicKey)
  const result = await failure(() => issueCertificate(request({ publicKey })))
  expect(result?.code).toBe('ERR_CERT_REQUEST_REFUSED')
  expect((await failure(() => thumbprint(publicKey)))?.code).toBe('ERR_CERT_REQUEST_REFUSED')
})

test('a signer that is not the issuer named is a broken invariant', async () => {
  const other = await makeCa('other')
  const issuer = { certificate: ca.certificate, signer: other.signer }
  expect((await failure(() => issueCertificate(request({ issuer }))))?.code).toBe('ERR_INTERNAL')
})

test('what was asked for is what is read back, from DER and from PEM', async () => {
  const asked = request({ dns: ['localhost'], ips: ['::1'], extension: userExtension(ALICE) })
  const der = await issueCertificate(asked)
  const read = readCertificate(der)
  expect(read).toMatchObject({
    subject: 'web-1',
    uris: [GOOD_URI],
    dns: ['localhost'],
    ips: ['::1'],
    usages: ['client'],
    isCa: false,
    notBefore: asked.notBefore,
    notAfter: asked.notAfter,
  })
  expect(read.publicKey.equals(asked.publicKey)).toBe(true)
  expect(read.extension(OID.posternUser)?.equals(userExtension(ALICE).value)).toBe(true)
  expect(read.extension('1.2.3')).toBeUndefined()
  expect(readCertificate(toPem(der)).fingerprint).toBe(read.fingerprint)
})

test('serial numbers are positive, 128 bits long and never the same', async () => {
  const serials = await Promise.all(
    Array.from(
      { length: 64 },
      async () => readCertificate(await issueCertificate(request())).serial,
    ),
  )
  expect(new Set(serials).size).toBe(64)
  for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9a-f]{31}$/)
})

test.each(['ES256', 'EdDSA'] as const)('the SPKI of %s is the one that OpenSSL writes', (kind) => {
  const { publicKey } = generateKey(kind)
  expect(spki(publicKey).equals(publicKey.export({ type: 'spki', format: 'der' }))).toBe(true)
})

test('a CA needs a name and an end', async () => {
  const { signer } = ca
  const good = { name: 'x', signer, notBefore: NOW, notAfter: plus(NOW, HOUR) }
  for (const bad of [
    { ...good, name: '' },
    { ...good, name: 'x'.repeat(65) },
    { ...good, notAfter: NOW },
  ])
    expect((await failure(() => createCaCertificate(bad)))?.code).toBe('ERR_CERT_REQUEST_REFUSED')
})
