/**
 * What counts as proof. Attacks that it stops: an offered key taken for a signed one (CVE-2023-43660), facts kept from an
 * earlier offer (CVE-2024-45337), a certificate of somebody else with one's own key.
 */
import { sign } from 'node:crypto'
import type { AuthContext } from 'ssh2'
import { describe, expect, test } from 'vitest'
import { authenticate } from '../../../agent/services/ssh/server/authenticate.ts'
import { string } from '../../../agent/services/ssh/ssh2/wire.ts'
import { userSshExtensions } from '../../../core/certs/identity.ts'
import { generateKey, keySigner } from '../../../core/certs/signer.ts'
import {
  issueSshCertificate,
  type SshCertificateRequest,
} from '../../../core/certs/ssh-certificate.ts'
import { publicKeyBlob } from '../../../core/certs/ssh-key.ts'
import { instant, plus } from '../../../core/clock.ts'

const now = instant(Date.UTC(2026, 10, 23, 12))
const ca = generateKey()
const key = generateKey('EdDSA')
const TYPE = 'ssh-ed25519-cert-v01@openssh.com'
const trust = { userCas: [publicKeyBlob(ca.publicKey)], cluster: 'test.example', user: 'ann', now }

const certificate = (change: Partial<SshCertificateRequest> = {}): Promise<Buffer> =>
  issueSshCertificate(
    {
      role: 'user',
      publicKey: key.publicKey,
      keyId: 'ann',
      principals: ['deploy'],
      validAfter: plus(now, -1000),
      validBefore: plus(now, 3_600_000),
      extensions: userSshExtensions({ roles: ['dev'], traits: {} }),
      ...change,
    },
    keySigner(ca.privateKey),
  )

interface Attempt {
  readonly blob?: Buffer
  readonly signature?: Buffer
  readonly algo?: string
  readonly username?: string
  readonly method?: string
}
const SIGNED = Buffer.from('session id and request')
const signature = (by = key, over = SIGNED): Buffer =>
  Buffer.concat([string('ssh-ed25519'), string(sign(null, over, by.privateKey))])
/** As ssh2 hands attempts out. */
const attempt = (
  data: Buffer,
  { blob = SIGNED, algo = TYPE, ...rest }: Attempt = {},
): AuthContext =>
  ({ method: 'publickey', username: 'deploy', key: { algo, data }, blob, ...rest }) as never

describe('a login', () => {
  test('is proven by a certificate and a signature of its key', async () => {
    const verdict = authenticate(attempt(await certificate(), { signature: signature() }), trust)
    expect(verdict).toMatchObject({
      kind: 'proven',
      login: 'deploy',
      identity: { user: 'ann', roles: ['dev'], logins: ['deploy'] },
    })
  })

  test('CVE-2023-43660 (Warpgate): is not proven by an offer without signature', async () => {
    expect(authenticate(attempt(await certificate()), trust)).toEqual({ kind: 'offer' })
  })

  test.each<[string, () => Promise<AuthContext>, RegExp]>([
    [
      'a signature of another key',
      async () => attempt(await certificate(), { signature: signature(generateKey('EdDSA')) }),
      /not by the certificate/,
    ],
    [
      'a signature over something else',
      async () => attempt(await certificate(), { signature: signature(key, Buffer.from('x')) }),
      /not by the certificate/,
    ],
    [
      'garbage as signature',
      async () => attempt(await certificate(), { signature: Buffer.alloc(80, 1) }),
      /not by the certificate/,
    ],
    [
      'an algorithm that is not the certificate’s',
      async () =>
        attempt(await certificate(), { algo: 'ecdsa-sha2-nistp256-cert-v01@openssh.com' }),
      /does not go with/,
    ],
    [
      'a bare key',
      async () => attempt(publicKeyBlob(key.publicKey), { algo: 'ssh-ed25519' }),
      /without certificate/,
    ],
    ['bytes that are no certificate', async () => attempt(Buffer.alloc(300, 7)), /./],
    ['a huge certificate', async () => attempt(Buffer.alloc(1_000_000)), /too large/],
    [
      'CVE-2024-45337 (x/crypto): another user’s certificate',
      async () => attempt(await certificate({ keyId: 'bob' }), { signature: signature() }),
      /bob on a stream of ann/,
    ],
    [
      'another login',
      async () => attempt(await certificate(), { username: 'root', signature: signature() }),
      /principal not listed/,
    ],
    [
      'a host certificate',
      async () => attempt(await certificate({ role: 'host' }), { signature: signature() }),
      /wrong role/,
    ],
    [
      'an expired certificate',
      async () =>
        attempt(
          await certificate({ validAfter: plus(now, -7200_000), validBefore: plus(now, -1000) }),
        ),
      /expired/,
    ],
    ['a password', async () => attempt(Buffer.alloc(0), { method: 'password' }), /method password/],
  ])('is not proven by %s', async (_what, make, reason) => {
    const verdict = authenticate(await make(), trust)
    expect(verdict.kind).toBe('refused')
    expect(verdict.kind === 'refused' && verdict.reason).toMatch(reason)
  })

  test('is not proven by a tampered certificate, whichever byte', async () => {
    const blob = await certificate()
    for (let i = 0; i < blob.length; i += 3) {
      const bad = Buffer.from(blob)
      bad[i] = (bad[i] ?? 0) ^ 0x55
      expect(authenticate(attempt(bad, { signature: signature() }), trust).kind, `byte ${i}`).toBe(
        'refused',
      )
    }
  })
})
