/** Bytes from anybody: every certificate parser answers with a value or an AppError, at once, and never reads two things in one text. */
import { X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'
import { plus } from '../../../core/clock.ts'
import { isAppError } from '../../../core/errors.ts'
import { DerReader } from '../../../core/certs/der.ts'
import { formatIp, parseIp } from '../../../core/certs/ip.ts'
import { jwsVerify } from '../../../core/certs/jws.ts'
import { parseSpiffe } from '../../../core/certs/spiffe.ts'
import { signRequest, verifySignedRequest } from '../../../core/certs/signed-request.ts'
import { KEY_USAGE } from '../../../core/certs/oids.ts'
import { generateKey, keySigner } from '../../../core/certs/signer.ts'
import { issueSshCertificate, parseSshCertificate } from '../../../core/certs/ssh-certificate.ts'
import { parsePublicKey, publicKeyBlob } from '../../../core/certs/ssh-key.ts'
import { verifySshSignature } from '../../../core/certs/ssh-signature.ts'
import { readCertificate, toPem } from '../../../core/certs/x509-read.ts'
import {
  identityOf,
  userFromSshCertificate,
  userSshExtensions,
} from '../../../core/certs/identity.ts'
import { fuzzRuns, fuzzTimeout } from '../../support/fuzz.ts'
import {
  ALICE,
  CLUSTER,
  HOUR,
  makeCa,
  NOW,
  userLeaf,
  type Ca,
  type Leaf,
} from '../../support/pki.ts'

const LONGEST = 50
/** The value, or undefined after an AppError; anything else that is thrown fails the test, and so does taking too long twice. */
function total<T>(run: () => T): T | undefined {
  for (let tries = 0; ; tries++) {
    const start = performance.now()
    let value: T | undefined
    try {
      value = run()
    } catch (e) {
      if (!isAppError(e) || e.code === 'ERR_INTERNAL') throw e
    }
    const took = performance.now() - start
    if (took < LONGEST) return value
    // A pause of the machine does not come twice; a slow input does.
    if (tries > 2) throw new Error(`took ${took} ms`)
  }
}

/** A few cuts, insertions and changed bytes somewhere in `seed`. */
const mutated = (seed: () => Buffer) =>
  fc
    .array(
      fc.record({
        at: fc.nat(4096),
        cut: fc.oneof(fc.constant(0), fc.nat(8)),
        put: fc.uint8Array({ maxLength: 8 }),
      }),
      { maxLength: 4 },
    )
    .map((changes) =>
      changes.reduce((bytes, { at, cut, put }) => {
        const where = at % (bytes.length + 1)
        return Buffer.concat([
          bytes.subarray(0, where),
          put,
          bytes.subarray(where + (cut || put.length)),
        ])
      }, seed()),
    )
const junk = fc.uint8Array({ maxLength: 2048 })
const runs = { numRuns: fuzzRuns }

let ca: Ca
let alice: Leaf
let ssh: Buffer
let request: string
beforeAll(async () => {
  ca = await makeCa('CA')
  alice = await userLeaf(ca)
  ssh = await issueSshCertificate(
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
  const url = 'https://a.example/v1/ping'
  request = await signRequest({ method: 'GET', url, cluster: CLUSTER, ...alice, now: NOW })
})

test(
  'X.509: any bytes are read or refused, and what is read Node reads alike',
  { timeout: fuzzTimeout },
  () => {
    const input = fc.oneof(
      junk,
      mutated(() => alice.certificate.raw),
      mutated(() => ca.certificate.raw),
    )
    fc.assert(
      fc.property(input, (bytes) => {
        const read = total(() => readCertificate(bytes))
        if (!read) return
        total(() => identityOf(read))
        const node = new X509Certificate(bytes)
        expect(node.raw.equals(read.raw)).toBe(true)
        expect(node.publicKey.equals(read.publicKey)).toBe(true)
        // A CA whose key usage lacks keyCertSign is none for Node; ours says so when it is asked to have signed something.
        const signs = (read.parts.keyUsage & KEY_USAGE.keyCertSign) !== 0
        if (signs || !read.isCa) expect(node.ca).toBe(read.isCa)
        expect(new Date(node.validTo).getTime()).toBe(read.notAfter)
      }),
      runs,
    )
  },
)

test('PEM: any text is read or refused', { timeout: fuzzTimeout }, () => {
  const pem = () => Buffer.from(toPem(alice.certificate.raw), 'latin1')
  const input = fc.oneof(
    fc.string({ maxLength: 500 }),
    mutated(pem).map((b) => b.toString('latin1')),
  )
  fc.assert(
    fc.property(input, (text) => {
      total(() => readCertificate(text))
    }),
    runs,
  )
})

test(
  'OpenSSH certificates: any bytes are read or refused, and only the issued ones are signed',
  { timeout: fuzzTimeout },
  () => {
    fc.assert(
      fc.property(
        fc.oneof(
          junk,
          mutated(() => ssh),
        ),
        (bytes) => {
          const read = total(() => parseSshCertificate(bytes))
          if (!read) return
          total(() => userFromSshCertificate(read, CLUSTER))
          if (
            verifySshSignature(read.ca, read.signed, read.signature) &&
            read.ca.blob.equals(publicKeyBlob(ca.signer.publicKey))
          )
            expect(read.signed.equals(parseSshCertificate(ssh).signed)).toBe(true)
        },
      ),
      runs,
    )
  },
)

test(
  'SSH keys: any bytes are read or refused, and what is read is the bytes',
  { timeout: fuzzTimeout },
  () => {
    const seeds = [
      publicKeyBlob(generateKey('ES256').publicKey),
      publicKeyBlob(generateKey('EdDSA').publicKey),
    ]
    fc.assert(
      fc.property(fc.oneof(junk, ...seeds.map((seed) => mutated(() => seed))), (bytes) => {
        const read = total(() => parsePublicKey(bytes))
        if (read) expect(read.blob.equals(bytes)).toBe(true)
      }),
      runs,
    )
  },
)

test('SSH signatures: any bytes hold or do not', { timeout: fuzzTimeout }, () => {
  const key = parsePublicKey(publicKeyBlob(keySigner(generateKey().privateKey).publicKey))
  fc.assert(
    fc.property(
      fc.oneof(
        junk,
        mutated(() => parseSshCertificate(ssh).signature),
      ),
      (bytes) => {
        expect(total(() => verifySshSignature(key, Buffer.from('x'), bytes))).toBe(false)
      },
    ),
    runs,
  )
})

test('DER: a reader ends, and reads back what it consumed', { timeout: fuzzTimeout }, () => {
  fc.assert(
    fc.property(
      fc.oneof(
        junk,
        mutated(() => alice.certificate.raw),
      ),
      (bytes) => {
        total(() => {
          const input = Buffer.from(bytes)
          const reader = new DerReader(input)
          let read = 0
          while (!reader.done) read += reader.next().raw.length
          expect(read).toBe(input.length)
        })
      },
    ),
    runs,
  )
})

test(
  'JWS and signed requests: any text is refused unless it is the one that was signed',
  { timeout: fuzzTimeout },
  async () => {
    const input = fc.oneof(
      fc.string({ maxLength: 500 }),
      mutated(() => Buffer.from(request, 'latin1')).map((b) => b.toString('latin1')),
    )
    const asked = {
      method: 'GET',
      origins: ['https://a.example'],
      pathAndQuery: '/v1/ping',
      body: '',
      cluster: CLUSTER,
      roots: { host: [], user: [ca.certificate] },
      now: NOW,
    }
    await fc.assert(
      fc.asyncProperty(input, async (text) => {
        const code = await verifySignedRequest(text, asked).then(
          () => 'accepted',
          (e: unknown) => (isAppError(e) ? e.code : 'crashed'),
        )
        expect(code).toBe(text === request ? 'accepted' : 'ERR_PROOF_INVALID')
        const key = {
          keys: [alice.signer.publicKey],
          algorithms: ['ES256'],
          maxBytes: 4096,
        } as const
        await jwsVerify(text, key).catch((e: unknown) => expect(isAppError(e)).toBe(true))
      }),
      runs,
    )
  },
)

test(
  'addresses and SPIFFE ids: any text is one or none, and an address is read back',
  { timeout: fuzzTimeout },
  () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.ipV4(), fc.ipV6()), (text) => {
        const ip = total(() => parseIp(text))
        if (ip) expect(parseIp(formatIp(ip))).toEqual(ip)
        total(() => parseSpiffe(text))
      }),
      runs,
    )
  },
)
