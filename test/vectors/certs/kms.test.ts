/** CAs whose keys are in KMS: what they sign is taken by openssl and ssh-keygen, and keys come, go and are told apart. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KMSClient } from '@aws-sdk/client-kms'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { jwsSign, jwsVerify } from '../../../core/certs/jws.ts'
import { caPin, generateKey } from '../../../core/certs/signer.ts'
import { issueSshCertificate } from '../../../core/certs/ssh-certificate.ts'
import { authorizedKey, publicKeyBlob } from '../../../core/certs/ssh-key.ts'
import { createCaCertificate, issueCertificate } from '../../../core/certs/x509.ts'
import { readCertificate, toPem } from '../../../core/certs/x509-read.ts'
import { fromSeconds, plus, systemClock } from '../../../core/clock.ts'
import { kmsKeyring } from '../../../functions/signers/kms-keyring.ts'
import { kmsSigner } from '../../../functions/signers/kms.ts'
import { fakeKms, type FakeKms } from '../../fakes/kms.ts'

let kms: FakeKms
let client: KMSClient
const dir = mkdtempSync(join(tmpdir(), 'postern-kms-ca-'))
beforeAll(async () => {
  kms = await fakeKms()
  client = new KMSClient({
    endpoint: kms.endpoint,
    region: 'eu-west-1',
    maxAttempts: 1,
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' },
  })
})
afterAll(async () => {
  client.destroy()
  await kms.close()
  rmSync(dir, { recursive: true, force: true })
})
const file = (name: string, text: string): string => {
  writeFileSync(join(dir, name), text)
  return join(dir, name)
}
const HOUR = 3_600_000
const now = systemClock.now()
const keyOf = (pin: string, ref: string) => ({
  ref,
  pin,
  created: fromSeconds(0),
  certificate: undefined,
  jwk: undefined,
})

describe.each(['ECC_NIST_P256', 'ECC_NIST_EDWARDS25519'] as const)('a CA of %s', (spec) => {
  test('signs X.509 that openssl verifies strictly', async () => {
    const signer = await kmsSigner(client, kms.add(spec))
    const ca = await createCaCertificate({
      name: 'Postern host CA',
      signer,
      notBefore: plus(now, -HOUR),
      notAfter: plus(now, 24 * HOUR),
    })
    const leaf = await issueCertificate({
      subject: 'web-1',
      publicKey: generateKey().publicKey,
      issuer: { certificate: readCertificate(ca), signer },
      notBefore: plus(now, -60_000),
      notAfter: plus(now, HOUR),
      uris: ['spiffe://c.test/agent/ag_01jd00000000000000000000aa/ssh'],
      usage: ['client', 'server'],
    })
    const args = ['verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile']
    const out = execFileSync('openssl', [
      ...args,
      file('ca.pem', toPem(ca)),
      file('leaf.pem', toPem(leaf)),
    ])
    expect(out.toString()).toMatch(/OK/)
  })

  test('signs SSH certificates that ssh-keygen reads and names by its CA', async () => {
    const signer = await kmsSigner(client, kms.add(spec))
    const certificate = await issueSshCertificate(
      {
        role: 'user',
        publicKey: generateKey('EdDSA').publicKey,
        keyId: 'ann',
        principals: ['ann'],
        validAfter: plus(now, -60_000),
        validBefore: plus(now, HOUR),
      },
      signer,
    )
    const read = execFileSync('ssh-keygen', [
      '-L',
      '-f',
      file('c.pub', `${authorizedKey(certificate)}\n`),
    ])
    const ca = file('ca.pub', `${authorizedKey(publicKeyBlob(signer.publicKey))}\n`)
    const [, fingerprint = '?'] = execFileSync('ssh-keygen', ['-l', '-f', ca]).toString().split(' ')
    expect(read.toString()).toContain(fingerprint)
    expect(read.toString()).toMatch(/Key ID: "ann"/)
  })

  test('signs JWS of the size of a route', async () => {
    const signer = await kmsSigner(client, kms.add(spec))
    const jws = await jwsSign(signer, { typ: 't' }, { aud: 'c.test' })
    const keys = [signer.publicKey]
    const options = { keys, algorithms: [signer.algorithm], typ: 't', maxBytes: 4096 }
    expect((await jwsVerify(jws, options)).payload).toEqual({ aud: 'c.test' })
  })
})

test('Ed25519 in KMS takes 4 KiB at most: a policy of more says which key to use instead', async () => {
  const signer = await kmsSigner(client, kms.add('ECC_NIST_EDWARDS25519'))
  await expect(signer.sign(Buffer.alloc(4097))).rejects.toMatchObject({
    code: 'ERR_INTERNAL',
    internal: expect.stringContaining('use a P-256 key') as string,
  })
})

describe('the keys of a rotation', () => {
  test('are tagged by cluster and CA, and open only as the key that the table names', async () => {
    const keyring = kmsKeyring(client, 'c.test', () => undefined)
    const { ref, signer } = await keyring.create('host')
    expect(kms.keys.get(ref)).toMatchObject({
      spec: 'ECC_NIST_P256',
      tags: { 'postern-cluster': 'c.test', 'postern-ca': 'host' },
    })
    const pin = caPin(signer.publicKey)
    expect(caPin((await keyring.open('host', keyOf(pin, ref))).publicKey)).toBe(pin)
    await expect(keyring.open('host', keyOf('sha256:00', ref))).rejects.toMatchObject({
      internal: expect.stringContaining('not the key of the host CA') as string,
    })
  })
  test('sign nothing once they are retired; the one of the deployment is left to its stack', async () => {
    const initial = kms.add('ECC_NIST_P256')
    const keyring = kmsKeyring(client, 'c.test', () => initial)
    const { ref, signer } = await keyring.create('user')
    await keyring.retire('user', keyOf(caPin(signer.publicKey), ref))
    await keyring.retire('user', keyOf(caPin(signer.publicKey), ref))
    await expect(signer.sign(Buffer.from('x'))).rejects.toMatchObject({ code: 'ERR_INTERNAL' })
    await keyring.retire('user', keyOf('', ''))
    expect(kms.keys.get(initial)?.state).toBe('Enabled')
  })
})
