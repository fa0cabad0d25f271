/** Signers, compact JWS, raw proofs, SSH signatures: each holds for its own purpose and nothing else. */
import { createHash, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { compactVerify } from 'jose'
import { describe, expect, test } from 'vitest'
import { jwsSign, jwsVerify } from '../../../core/certs/jws.ts'
import { checkProof, CONTEXT, prove } from '../../../core/certs/proof.ts'
import {
  caPin,
  generateKey,
  keySigner,
  publicKeyOf,
  spki,
  thumbprint,
} from '../../../core/certs/signer.ts'
import { parsePublicKey, publicKeyBlob } from '../../../core/certs/ssh-key.ts'
import { sshSignature, verifySshSignature } from '../../../core/certs/ssh-signature.ts'
import { mpint, string, u32 } from '../../../core/certs/ssh-wire.ts'
import { failure } from '../../support/pki.ts'

const KINDS = ['ES256', 'EdDSA'] as const
const bytes = Buffer.from('what is signed')

describe.each(KINDS)('a key with %s', (kind) => {
  const { privateKey, publicKey } = generateKey(kind)
  const signer = keySigner(privateKey)

  test('has one thumbprint and pin: SHA-256 of its SPKI', () => {
    const der = publicKey.export({ type: 'spki', format: 'der' })
    const hash = createHash('sha256').update(der)
    expect(caPin(signer.publicKey)).toBe(`sha256:${hash.copy().digest('hex')}`)
    expect(thumbprint(signer.publicKey)).toBe(hash.digest('base64url'))
    expect(spki(createPublicKey(privateKey)).equals(der)).toBe(true)
  })

  test('signs as KMS would', async () => {
    const signature = await signer.sign(bytes)
    expect(verify(kind === 'ES256' ? 'sha256' : null, bytes, publicKey, signature)).toBe(true)
  })

  test('makes compact JWS that jose accepts', async () => {
    const token = await jwsSign(signer, { typ: 'x+jws' }, { a: 1 })
    const { payload, protectedHeader } = await compactVerify(token, publicKey, {
      algorithms: [kind],
    })
    expect(Buffer.from(payload).toString()).toBe('{"a":1}')
    expect(protectedHeader).toEqual({ alg: kind, typ: 'x+jws' })
    const both = {
      keys: [generateKey(kind).publicKey, publicKey],
      algorithms: KINDS,
      maxBytes: 1000,
    }
    expect((await jwsVerify(token, { ...both, typ: 'x+jws' })).payload).toEqual({ a: 1 })
    for (const bad of [
      { typ: 'y+jws' },
      { keys: [] },
      { keys: [generateKey(kind).publicKey] },
      { algorithms: [] },
      { maxBytes: token.length - 1 },
    ])
      expect((await failure(() => jwsVerify(token, { ...both, ...bad })))?.code).toBe(
        'ERR_PROOF_INVALID',
      )
  })

  test('a header cannot choose the algorithm of its signer', async () => {
    const token = await jwsSign(signer, { alg: 'none' }, {})
    expect(JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString())).toEqual({
      alg: kind,
    })
  })

  test('proves within one context and over one sequence of parts', async () => {
    const parts = [Buffer.from('ab'), Buffer.from('c')]
    const proof = await prove(CONTEXT.join, privateKey, ...parts)
    expect(checkProof(CONTEXT.join, publicKey, proof, ...parts)).toBe(true)
    for (const context of Object.values(CONTEXT).filter((c) => c !== CONTEXT.join))
      expect(checkProof(context, publicKey, proof, ...parts)).toBe(false)
    for (const other of [['a', 'bc'], ['abc'], ['ab', 'c', ''], ['ab'], []])
      expect(checkProof(CONTEXT.join, publicKey, proof, ...other.map((p) => Buffer.from(p)))).toBe(
        false,
      )
    expect(checkProof(CONTEXT.join, generateKey(kind).publicKey, proof, ...parts)).toBe(false)
    for (const junk of [Buffer.alloc(0), Buffer.alloc(64), Buffer.alloc(1000), proof.subarray(1)])
      expect(checkProof(CONTEXT.join, publicKey, junk, ...parts)).toBe(false)
  })

  test('signs as SSH does', async () => {
    const key = parsePublicKey(publicKeyBlob(publicKey))
    const signature = await sshSignature(signer, bytes)
    expect(verifySshSignature(key, bytes, signature)).toBe(true)
    expect(verifySshSignature(key, bytes, signature, ['rsa-sha2-512'])).toBe(false)
    expect(verifySshSignature(key, Buffer.from('other'), signature)).toBe(false)
    expect(verifySshSignature(key, bytes, Buffer.concat([signature, Buffer.of(0)]))).toBe(false)
    expect(verifySshSignature(key, bytes, signature.subarray(0, -1))).toBe(false)
  })
})

test('a token has one text: bits that no byte takes are refused', async () => {
  const { privateKey, publicKey } = generateKey()
  const token = await jwsSign(keySigner(privateKey), {}, {})
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const other = token.slice(0, -1) + alphabet.charAt(alphabet.indexOf(token.slice(-1)) + 1)
  expect(Buffer.from(other, 'base64url').equals(Buffer.from(token, 'base64url'))).toBe(true)
  const options = { keys: [publicKey], algorithms: KINDS, maxBytes: 1000 }
  await jwsVerify(token, options)
  expect((await failure(() => jwsVerify(other, options)))?.reason).toBe('JWS: not canonical')
})

test('an algorithm of another kind of key is never tried', async () => {
  const ec = generateKey('ES256')
  const token = await jwsSign(keySigner(ec.privateKey), {}, {})
  const keys = [generateKey('EdDSA').publicKey]
  const result = await failure(() => jwsVerify(token, { keys, algorithms: KINDS, maxBytes: 1000 }))
  expect(result?.reason).toBe('JWS: no key for this algorithm')
})

test('public halves and foreign kinds of key sign nothing', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  for (const key of [generateKey().publicKey, rsa.privateKey])
    expect(() => keySigner(key)).toThrowError(
      expect.objectContaining({ code: 'ERR_CERT_REQUEST_REFUSED' }),
    )
})

const rsaKey = (bits: number) => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: bits })
  const { e = '', n = '' } = publicKey.export({ format: 'jwk' })
  const blob = Buffer.concat([
    string('ssh-rsa'),
    mpint(Buffer.from(e, 'base64url')),
    mpint(Buffer.from(n, 'base64url')),
  ])
  return { privateKey, blob }
}

test('RSA keys sign with SHA-2 only, and short ones not at all', async () => {
  const { privateKey, blob } = rsaKey(2048)
  const key = parsePublicKey(blob)
  const by = (algorithm: string, digest: string) =>
    verifySshSignature(
      key,
      bytes,
      Buffer.concat([string(algorithm), string(sign(digest, bytes, privateKey))]),
    )
  expect(by('rsa-sha2-256', 'sha256')).toBe(true)
  expect(by('rsa-sha2-512', 'sha512')).toBe(true)
  expect(by('ssh-rsa', 'sha1')).toBe(false)
  expect(by('rsa-sha2-512', 'sha256')).toBe(false)
  expect((await failure(() => parsePublicKey(rsaKey(1024).blob)))?.code).toBe('ERR_CERT_INVALID')
})

test('CVE-2026-39831 (x/crypto): a security key must say that somebody was present', () => {
  const { privateKey, publicKey } = generateKey('EdDSA')
  const type = 'sk-ssh-ed25519@openssh.com'
  const key = parsePublicKey(
    Buffer.concat([string(type), string(spki(publicKey).subarray(-32)), string('ssh:')]),
  )
  const hash = (data: Uint8Array | string) => createHash('sha256').update(data).digest()
  const signature = (flags: number) => {
    const message = Buffer.concat([hash('ssh:'), Buffer.of(flags), u32(7), hash(bytes)])
    return Buffer.concat([
      string(type),
      string(sign(null, message, privateKey)),
      Buffer.of(flags),
      u32(7),
    ])
  }
  expect(key.application).toBe('ssh:')
  expect(verifySshSignature(key, bytes, signature(1))).toBe(true)
  expect(verifySshSignature(key, bytes, signature(0))).toBe(false)
  expect(verifySshSignature(key, bytes, signature(4))).toBe(false)
})

// An invalid curve point would leak whatever is computed with it (CVE-2015-7940).
test('a P-256 point that is not on the curve is no key, whichever way it is read', () => {
  const info = Buffer.from(spki(generateKey('ES256').publicKey))
  for (const at of [info.length - 1, 27, 59]) {
    const bent = Buffer.from(info)
    bent.writeUInt8(bent.readUInt8(at) ^ 1, at)
    expect(() => publicKeyOf(bent)).toThrow(
      expect.objectContaining({ code: 'ERR_CERT_REQUEST_REFUSED' }),
    )
  }
  for (const point of [Buffer.alloc(64), Buffer.alloc(64, 0xff)])
    expect(() => publicKeyOf(Buffer.concat([info.subarray(0, 27), point]))).toThrow(
      expect.objectContaining({ code: 'ERR_CERT_REQUEST_REFUSED' }),
    )
  expect(
    publicKeyOf(info).equals(createPublicKey({ key: info, format: 'der', type: 'spki' })),
  ).toBe(true)
})
