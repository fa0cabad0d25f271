// Certificates, keys and signed texts with anything changed: every parser answers in a bounded time and a bounded memory.
import { expect, test } from 'vitest'
import { isAppError } from '../../../core/errors.ts'
import { plus } from '../../../core/clock.ts'
import {
  identityOf,
  userFromSshCertificate,
  userSshExtensions,
} from '../../../core/certs/identity.ts'
import { jwsVerify } from '../../../core/certs/jws.ts'
import { signRequest } from '../../../core/certs/signed-request.ts'
import { generateKey } from '../../../core/certs/signer.ts'
import { issueSshCertificate, parseSshCertificate } from '../../../core/certs/ssh-certificate.ts'
import { parsePublicKey } from '../../../core/certs/ssh-key.ts'
import { verifySshSignature } from '../../../core/certs/ssh-signature.ts'
import { readCertificate, toPem } from '../../../core/certs/x509-read.ts'
import { bounded, boundedTimeout, mutate, type Chance } from '../../support/fuzz-bounds.ts'
import { ALICE, CLUSTER, HOUR, makeCa, NOW, userLeaf } from '../../support/pki.ts'

const ca = await makeCa('CA')
const alice = await userLeaf(ca)
const ssh = await issueSshCertificate(
  {
    role: 'user',
    publicKey: generateKey().publicKey,
    keyId: 'alice',
    principals: [...ALICE.logins],
    validAfter: NOW,
    validBefore: plus(NOW, HOUR),
    criticalOptions: { 'source-address': '192.0.2.0/24' },
    extensions: { 'permit-pty': '', ...userSshExtensions(ALICE) },
  },
  ca.signer,
)
const request = await signRequest({
  method: 'GET',
  url: 'https://a.example/v1/ping',
  cluster: CLUSTER,
  ...alice,
  now: NOW,
})

function refusable<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (e) {
    expect(isAppError(e) && e.code !== 'ERR_INTERNAL', String(e)).toBe(true)
    return undefined
  }
}

/** Lengths that promise more than there is, and nesting without end: what readers of DER and of SSH's strings suffer from. */
function cruel(c: Chance): Buffer {
  const n = 1 + c.below(2_000)
  return c.pick([
    Buffer.from('3080'.repeat(n), 'hex'),
    Buffer.from('3084ffffffff'.repeat(n), 'hex'),
    Buffer.from(`30820${'0'.repeat(2 * n + 1)}`, 'hex'),
    Buffer.from(`06${'80'.repeat(n)}`, 'hex'),
    Buffer.from('00000000'.repeat(n), 'hex'),
    Buffer.from('ffffffff'.repeat(n), 'hex'),
  ])
}
const from = (seed: Buffer) => (c: Chance) => (c.below(16) === 0 ? cruel(c) : mutate(seed, c))

test('X.509, in DER and in PEM', { timeout: boundedTimeout }, async () => {
  const seeds = [alice.certificate.raw, ca.certificate.raw]
  await bounded(
    (c) => from(c.pick(seeds))(c),
    (input) => {
      const read = refusable(() => readCertificate(input))
      if (read) refusable(() => identityOf(read))
      refusable(() => readCertificate(toPem(input)))
    },
  )
})

test('certificates of OpenSSH, and the user in them', { timeout: boundedTimeout }, async () => {
  await bounded(from(ssh), (input) => {
    const read = refusable(() => parseSshCertificate(input))
    if (read) refusable(() => userFromSshCertificate(read, CLUSTER))
  })
})

test('keys and signatures of SSH', { timeout: boundedTimeout }, async () => {
  const { ca: key, signed, signature } = parseSshCertificate(ssh)
  await bounded(
    (c) => from(c.pick([key.blob, signature]))(c),
    (input) => {
      refusable(() => parsePublicKey(input))
      // Of ECDSA a signature has many spellings; another one that holds is not another meaning.
      refusable(() => verifySshSignature(key, signed, input))
    },
  )
})

test('signed texts', { timeout: boundedTimeout }, async () => {
  const keys = { keys: [alice.signer.publicKey], algorithms: ['ES256'], maxBytes: 4096 } as const
  const parts = request.split('.').map((part) => Buffer.from(part, 'base64url'))
  await bounded(
    (c) => {
      if (c.below(4) === 0) return mutate(Buffer.from(request), c)
      const at = c.below(parts.length)
      const bent = parts.map((part, i) => (i === at ? mutate(part, c) : part))
      return Buffer.from(bent.map((part) => part.toString('base64url')).join('.'))
    },
    async (input) => {
      await jwsVerify(input.toString('latin1'), keys).catch((e: unknown) =>
        expect(isAppError(e) && e.code !== 'ERR_INTERNAL', String(e)).toBe(true),
      )
    },
  )
})
