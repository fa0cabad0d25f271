/** Does OpenSSL agree about every X.509 certificate that we sign? */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { X509Certificate } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { plus } from '../../../core/clock.ts'
import { agentUri } from '../../../core/certs/identity.ts'
import { generateKey } from '../../../core/certs/signer.ts'
import { issueCertificate } from '../../../core/certs/x509.ts'
import { readCertificate, toPem } from '../../../core/certs/x509-read.ts'
import { AGENT_ID, agentLeaf, CLUSTER, HOUR, makeCa, NOW, userLeaf } from '../../support/pki.ts'

let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'postern-openssl-'))
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const openssl = (...args: string[]): string =>
  execFileSync('openssl', args, { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const save = (name: string, der: Buffer): string => {
  const path = join(dir, name)
  writeFileSync(path, toPem(der))
  return path
}
const strictly = (ca: string, leaf: string, purpose: string): string =>
  openssl(
    'verify',
    '-x509_strict',
    '-check_ss_sig',
    '-attime',
    `${NOW / 1000}`,
    '-purpose',
    purpose,
    '-CAfile',
    ca,
    leaf,
  )

const KINDS = ['ES256', 'EdDSA'] as const

describe.each(KINDS)('a CA with %s', (caKind) => {
  test.each(KINDS)('signs leaves with %s that openssl -x509_strict accepts', async (kind) => {
    const ca = await makeCa('demo host CA', caKind)
    const agent = await agentLeaf(ca, kind)
    const user = await userLeaf(ca, 'alice@example.com', kind)
    const caFile = save('ca.pem', ca.certificate.raw)
    for (const [leaf, purpose] of [
      [agent, 'sslclient'],
      [agent, 'sslserver'],
      [user, 'sslclient'],
    ] as const) {
      const file = save('leaf.pem', leaf.certificate.raw)
      expect(strictly(caFile, file, purpose)).toContain('OK')
    }
  })
})

test('the CA certificate itself passes strict checks', async () => {
  const ca = await makeCa('demo user CA')
  const file = save('self.pem', ca.certificate.raw)
  expect(strictly(file, file, 'any')).toContain('OK')
})

test('openssl reads the names, usages and identifiers that were asked for', async () => {
  const ca = await makeCa('demo host CA')
  const der = await issueCertificate({
    subject: 'web-1',
    publicKey: generateKey().publicKey,
    issuer: ca,
    notBefore: NOW,
    notAfter: plus(NOW, HOUR),
    uris: [agentUri(CLUSTER, AGENT_ID, 'app')],
    dns: ['localhost', 'web-1.demo.postern'],
    ips: ['127.0.0.1', '2001:db8::1'],
    usage: ['server', 'client'],
  })
  const text = openssl('x509', '-noout', '-text', '-in', save('names.pem', der))
  expect(text).toContain('Subject: CN = web-1')
  expect(text).toContain('Issuer: CN = demo host CA')
  expect(text).toContain(
    `DNS:localhost, DNS:web-1.demo.postern, URI:spiffe://${CLUSTER}/agent/${AGENT_ID}/app, ` +
      'IP Address:127.0.0.1, IP Address:2001:DB8:0:0:0:0:0:1',
  )
  expect(text).toMatch(/Basic Constraints: critical\s+CA:FALSE/)
  expect(text).toMatch(/Key Usage: critical\s+Digital Signature\n/)
  expect(text).toContain('TLS Web Server Authentication, TLS Web Client Authentication')
  const read = readCertificate(der)
  expect(read.ips).toEqual(['127.0.0.1', '2001:db8::1'])
})

test('a name of more than 64 characters leaves the subject empty and the certificate strictly valid', async () => {
  const ca = await makeCa('demo user CA')
  const user = await userLeaf(ca, 'a'.repeat(100))
  expect(user.certificate.subject).toBe('')
  const caFile = save('long-ca.pem', ca.certificate.raw)
  expect(strictly(caFile, save('long.pem', user.certificate.raw), 'sslclient')).toContain('OK')
})

test('times after 2049 are written as RFC 5280 demands', async () => {
  const at = plus(NOW, 30 * 365 * 24 * HOUR)
  const ca = await makeCa('far CA', 'ES256', at)
  const text = openssl('x509', '-noout', '-enddate', '-in', save('far.pem', ca.certificate.raw))
  expect(new Date(text.replace('notAfter=', '')).getTime()).toBe(ca.certificate.notAfter)
})

// Two readers of one certificate must not see two things: Node's is OpenSSL's.
test("our reader and Node's agree on every field", async () => {
  const ca = await makeCa('demo host CA')
  const { certificate: ours } = await agentLeaf(ca, 'EdDSA')
  const node = new X509Certificate(ours.raw)
  expect(node.serialNumber.toLowerCase()).toBe(ours.serial)
  expect(new Date(node.validFrom).getTime()).toBe(ours.notBefore)
  expect(new Date(node.validTo).getTime()).toBe(ours.notAfter)
  expect(node.ca).toBe(ours.isCa)
  expect(node.subject).toBe(`CN=${ours.subject}`)
  expect(node.subjectAltName).toBe(`URI:${ours.uris[0] ?? ''}`)
  expect(node.publicKey.equals(ours.publicKey)).toBe(true)
  expect(node.verify(ca.certificate.publicKey)).toBe(true)
  expect(readCertificate(node.toString()).raw.equals(ours.raw)).toBe(true)
})

test('certificates that openssl makes are read too', () => {
  openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', 'k.pem')
  openssl(
    'req',
    '-x509',
    '-new',
    '-key',
    'k.pem',
    '-subj',
    '/CN=other',
    '-days',
    '2',
    '-out',
    'c.pem',
  )
  const read = readCertificate(openssl('x509', '-in', 'c.pem'))
  expect(read.subject).toBe('other')
  expect(read.isCa).toBe(true)
})
