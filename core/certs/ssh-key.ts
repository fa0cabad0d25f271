/**
 * SSH public keys as blobs (RFC 4253 section 6.6, RFC 5656, RFC 8709, OpenSSH's PROTOCOL.u2f). A certificate is never a key here:
 * its type is unknown to this file, wherever a key is expected (CVE-2025-49825).
 */
import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { isAppError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { DerReader, TAG } from './der.ts'
import { keyAlgorithm, spki } from './signer.ts'
import { malformed, mpint, SshReader, string } from './ssh-wire.ts'

export interface SshPublicKey {
  /** `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, `sk-…@openssh.com`; never a certificate type. */
  readonly type: string
  readonly key: KeyObject
  readonly blob: Buffer
  /** Of security keys only: what their signatures are bound to, usually `ssh:`. */
  readonly application?: string
}

const CURVE = {
  nistp256: { crv: 'P-256', bytes: 32 },
  nistp384: { crv: 'P-384', bytes: 48 },
  nistp521: { crv: 'P-521', bytes: 66 },
} as const

const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')

function readEd25519(reader: SshReader): KeyObject {
  const x = reader.string()
  if (x.length !== 32) throw malformed('length of an Ed25519 key')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: base64url(x) }, format: 'jwk' })
}

function readEcdsa(reader: SshReader, name: keyof typeof CURVE): KeyObject {
  if (reader.text() !== name) throw malformed('curve differs from the type')
  const { crv, bytes } = CURVE[name]
  const point = reader.string()
  if (point.length !== 1 + 2 * bytes || point[0] !== 4) throw malformed('form of a curve point')
  const x = base64url(point.subarray(1, 1 + bytes))
  const y = base64url(point.subarray(1 + bytes))
  return createPublicKey({ key: { kty: 'EC', crv, x, y }, format: 'jwk' })
}

function readRsa(reader: SshReader): KeyObject {
  const e = reader.mpint()
  const n = reader.mpint()
  // Below 2048 bits it is weak; a huge modulus or exponent would make each check slow.
  if (n.length < 256 || n.length > 1024 || e.length < 1 || e.length > 4)
    throw malformed('size of an RSA key')
  const key = { kty: 'RSA', e: base64url(e), n: base64url(n) }
  return createPublicKey({ key, format: 'jwk' })
}

/** Reads the part of a key after its type; certificates hold that part too. Types that are not listed do not exist. */
const READERS: Readonly<Record<string, (reader: SshReader) => KeyObject>> = {
  'ssh-ed25519': readEd25519,
  'sk-ssh-ed25519@openssh.com': readEd25519,
  'ecdsa-sha2-nistp256': (reader) => readEcdsa(reader, 'nistp256'),
  'ecdsa-sha2-nistp384': (reader) => readEcdsa(reader, 'nistp384'),
  'ecdsa-sha2-nistp521': (reader) => readEcdsa(reader, 'nistp521'),
  'sk-ecdsa-sha2-nistp256@openssh.com': (reader) => readEcdsa(reader, 'nistp256'),
  'ssh-rsa': readRsa,
}
const readerOf = new Map(Object.entries(READERS))
export const isSecurityKey = (type: string): boolean => type.startsWith('sk-')

/** Reads a key of `type` whose body starts at the reader; `prefix` is what comes before it in the key's own blob. */
export function readKeyBody(type: string, reader: SshReader, source: Buffer): SshPublicKey {
  const read = readerOf.get(type)
  if (!read) throw malformed(`not a key type: ${type.slice(0, 64)}`)
  const start = reader.offset
  try {
    const key = read(reader)
    const application = isSecurityKey(type) ? reader.text() : undefined
    const blob = Buffer.concat([string(type), source.subarray(start, reader.offset)])
    return { type, key, blob, ...(application === undefined ? {} : { application }) }
  } catch (e) {
    if (isAppError(e)) throw e
    throw malformed('not a public key', e)
  }
}

/** Throws ERR_CERT_INVALID, also for a certificate offered as a key. */
export function parsePublicKey(blob: Uint8Array): SshPublicKey {
  if (blob.length > LIMITS.certSize.value) throw malformed('key is too large')
  const source = Buffer.from(blob)
  const reader = new SshReader(source)
  const key = readKeyBody(reader.text(), reader, source)
  reader.end()
  return key
}

const blobs = new WeakMap<KeyObject, Buffer>()

/** The blob of a P-256 or Ed25519 public key. Throws ERR_CERT_REQUEST_REFUSED for other kinds. */
export function publicKeyBlob(key: KeyObject): Buffer {
  const known = blobs.get(key)
  if (known) return known
  const { type, body } = keyParts(key)
  const blob = Buffer.concat([string(type), body])
  blobs.set(key, blob)
  return blob
}

/** Type and body of a key: a certificate puts its nonce between the two. The SPKI ends with the bare key. */
export function keyParts(key: KeyObject): { type: string; body: Buffer } {
  const info = spki(key)
  return keyAlgorithm(key) === 'ES256'
    ? {
        type: 'ecdsa-sha2-nistp256',
        body: Buffer.concat([string('nistp256'), string(info.subarray(-65))]),
      }
    : { type: 'ssh-ed25519', body: string(info.subarray(-32)) }
}

/** `SHA256:…` as OpenSSH prints it. */
export const sshFingerprint = (blob: Uint8Array): string =>
  'SHA256:' + createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')

/** `type base64 comment`, as in authorized_keys, known_hosts and `-cert.pub` files. */
export function authorizedKey(blob: Uint8Array, comment = ''): string {
  const type = new SshReader(Buffer.from(blob)).text()
  const text = `${type} ${Buffer.from(blob).toString('base64')}`
  return comment === '' ? text : `${text} ${comment.replace(/\s+/g, ' ')}`
}

/** The secret number of P-256 or the seed of Ed25519, both of 32 bytes, from PKCS #8 (RFC 5958, RFC 5915, RFC 8410). */
function secretOf(privateKey: KeyObject, isEcdsa: boolean): Buffer {
  const outer = new DerReader(privateKey.export({ type: 'pkcs8', format: 'der' }))
  const info = outer.enter(TAG.sequence)
  info.expect(TAG.integer)
  info.expect(TAG.sequence)
  const inner = info.enter(TAG.octetString)
  if (!isEcdsa) return inner.expect(TAG.octetString).content
  const body = inner.enter(TAG.sequence)
  body.expect(TAG.integer)
  return body.expect(TAG.octetString).content
}

/** The private part of a key as ssh-agent and OpenSSH's files carry it, without the comment. */
export function privateKeyBody(privateKey: KeyObject): Buffer {
  const publicKey = createPublicKey(privateKey)
  const { type, body } = keyParts(publicKey)
  const isEcdsa = keyAlgorithm(publicKey) === 'ES256'
  const secret = secretOf(privateKey, isEcdsa)
  // Ed25519 keeps seed and public key in one string.
  const value = isEcdsa
    ? mpint(secret)
    : string(Buffer.concat([secret, spki(publicKey).subarray(-32)]))
  return Buffer.concat([string(type), body, value])
}
