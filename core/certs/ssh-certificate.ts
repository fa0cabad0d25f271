/**
 * OpenSSH certificates (PROTOCOL.certkeys): signing and parsing. Whether one holds for somebody is ssh-verify.ts's matter.
 */
import type { KeyObject } from 'node:crypto'
import { fromSeconds, seconds, type Instant } from '../clock.ts'
import { isAppError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { systemRandom, type Random } from '../random.ts'
import { parseNetwork } from './ip.ts'
import {
  checkLifetime,
  checkPrincipals,
  checkSize,
  checkSubjectKey,
  refuse,
} from './issue-rules.ts'
import type { Signer } from './signer.ts'
import {
  keyParts,
  parsePublicKey,
  publicKeyBlob,
  readKeyBody,
  type SshPublicKey,
} from './ssh-key.ts'
import { sshSignature } from './ssh-signature.ts'
import { malformed, nested, SshReader, string, u32, u64 } from './ssh-wire.ts'

export const CERT_SUFFIX = '-cert-v01@openssh.com'
export type SshRole = 'user' | 'host'

export interface SshCertificateRequest {
  readonly role: SshRole
  /** A P-256 or Ed25519 key, or the SSH blob of any key that parsePublicKey reads. Never a certificate. */
  readonly publicKey: KeyObject | Uint8Array
  readonly keyId: string
  readonly principals: readonly string[]
  readonly validAfter: Instant
  readonly validBefore: Instant
  /** 63 random bits when not given. */
  readonly serial?: bigint
  /** `force-command` and `source-address`; nothing else is signed. */
  readonly criticalOptions?: Readonly<Record<string, string>>
  readonly extensions?: Readonly<Record<string, string>>
}

export interface SshCertificate {
  /** `…-cert-v01@openssh.com`. */
  readonly type: string
  readonly publicKey: SshPublicKey
  readonly serial: bigint
  readonly role: SshRole
  readonly keyId: string
  readonly principals: readonly string[]
  readonly validAfter: Instant
  readonly validBefore: Instant
  readonly criticalOptions: ReadonlyMap<string, string>
  readonly extensions: ReadonlyMap<string, string>
  readonly ca: SshPublicKey
  /** The CA's signature blob, and the bytes that it covers. */
  readonly signature: Buffer
  readonly signed: Buffer
  readonly blob: Buffer
}

/** Type of the certificate of a key type, and back. Security keys put the suffix before their own domain. */
const certType = (plain: string): string =>
  plain.endsWith('@openssh.com') ? plain.replace('@openssh.com', CERT_SUFFIX) : plain + CERT_SUFFIX
const isCertificateType = (type: string): boolean => type.endsWith(CERT_SUFFIX)
/** The key type inside a certificate type: what a signature by its key is called. */
function plainType(type: string): string {
  const plain = type.slice(0, -CERT_SUFFIX.length)
  return plain.startsWith('sk-') ? `${plain}@openssh.com` : plain
}

const ROLE_NUMBER = { user: 1, host: 2 } as const
const CRITICAL_OPTIONS = new Set(['force-command', 'source-address'])

function checkOptions(request: SshCertificateRequest): void {
  const options = Object.entries(request.criticalOptions ?? {})
  for (const [name, value] of options) {
    if (!CRITICAL_OPTIONS.has(name)) throw refuse('criticalOptions: not one that verifiers know')
    if (request.role === 'host') throw refuse('criticalOptions: hosts have none')
    if (value === '') throw refuse(`criticalOptions.${name}: a value is needed`)
    if (name === 'source-address' && !value.split(',').every(parseNetwork))
      throw refuse('criticalOptions.source-address: use networks as 192.0.2.0/24, with commas')
  }
  for (const name of Object.keys(request.extensions ?? {}))
    if (!/^[a-zA-Z0-9._-]{1,64}(@[a-z0-9.-]{1,64})?$/.test(name))
      throw refuse('extensions: not a name')
}

/** Sorted by name; a flag has no value, and a value is a string within the string. */
function encodeOptions(options: Readonly<Record<string, string>> = {}): Buffer {
  const bytes = Object.entries(options).map(([name, value]) => ({
    name: Buffer.from(name, 'utf8'),
    value: value === '' ? string('') : nested(string(value)),
  }))
  bytes.sort((a, b) => Buffer.compare(a.name, b.name))
  return nested(...bytes.flatMap(({ name, value }) => [string(name), value]))
}

function subjectKey(key: KeyObject | Uint8Array): { type: string; body: Buffer; blob: Buffer } {
  if (!(key instanceof Uint8Array)) {
    checkSubjectKey(key)
    return { ...keyParts(key), blob: publicKeyBlob(key) }
  }
  try {
    const { type, blob } = parsePublicKey(key)
    return { type, body: blob.subarray(4 + type.length), blob }
  } catch (cause) {
    if (isAppError(cause)) throw refuse('publicKey: a bare public key is needed')
    throw cause
  }
}

/** The blob of a new certificate. Throws ERR_CERT_REQUEST_REFUSED, ERR_CERT_TTL_TOO_LONG. */
export async function issueSshCertificate(
  request: SshCertificateRequest,
  signer: Signer,
  random: Random = systemRandom,
): Promise<Buffer> {
  const { role, keyId, principals, validAfter, validBefore } = request
  checkLifetime(role === 'user' ? 'user' : 'machine', validAfter, validBefore)
  checkPrincipals(principals)
  checkOptions(request)
  if (!/^[\x21-\x7e]{1,256}$/.test(keyId)) throw refuse('keyId: 1 to 256 visible ASCII characters')
  const subject = subjectKey(request.publicKey)
  const ca = publicKeyBlob(signer.publicKey)
  // Nonce and serial number in one go: asking the operating system costs more than the bytes.
  const fresh = random.bytes(40)
  if (subject.blob.equals(ca)) throw refuse('publicKey: it is the key of the CA itself')
  const body = Buffer.concat([
    string(certType(subject.type)),
    string(fresh.subarray(0, 32)),
    subject.body,
    u64(request.serial ?? fresh.readBigUInt64BE(32) >> 1n),
    u32(ROLE_NUMBER[role]),
    string(keyId),
    nested(...principals.map(string)),
    u64(BigInt(seconds(validAfter))),
    u64(BigInt(seconds(validBefore))),
    encodeOptions(request.criticalOptions),
    encodeOptions(request.extensions),
    string(''),
    string(ca),
  ])
  return checkSize(Buffer.concat([body, string(await sshSignature(signer, body))]))
}

function readOptions(bytes: Buffer): Map<string, string> {
  const options = new Map<string, string>()
  const reader = new SshReader(bytes)
  let last: Buffer | undefined
  while (!reader.done) {
    const raw = reader.string()
    // Strictly rising order also keeps one option from being there twice.
    if (last && Buffer.compare(last, raw) >= 0) throw malformed('options are not in order')
    last = raw
    const name = new SshReader(string(raw)).text()
    const value = reader.string()
    if (value.length === 0) {
      options.set(name, '')
      continue
    }
    const inner = new SshReader(value)
    options.set(name, inner.text())
    inner.end()
  }
  return options
}

function readPrincipals(bytes: Buffer): string[] {
  const principals: string[] = []
  const reader = new SshReader(bytes)
  while (!reader.done) {
    if (principals.length === LIMITS.certPrincipals.value) throw malformed('too many principals')
    principals.push(reader.text())
  }
  return principals
}

/** Certificates without end say 2^64 - 1 seconds; that becomes the last second that a number holds exactly. */
const LAST = BigInt(Math.floor(Number.MAX_SAFE_INTEGER / 1000))
const readTime = (value: bigint): Instant => fromSeconds(Number(value > LAST ? LAST : value))

function readRole(value: number): SshRole {
  if (value === ROLE_NUMBER.user) return 'user'
  if (value === ROLE_NUMBER.host) return 'host'
  throw malformed('neither a user nor a host certificate')
}

/** Throws ERR_CERT_INVALID, whatever the bytes are. A certificate as the CA's key is refused here already. */
export function parseSshCertificate(blob: Uint8Array): SshCertificate {
  if (blob.length > LIMITS.certSize.value) throw malformed('certificate is too large')
  const source = Buffer.from(blob)
  const reader = new SshReader(source)
  const type = reader.text()
  if (!isCertificateType(type)) throw malformed('not a certificate')
  reader.string() // nonce
  const publicKey = readKeyBody(plainType(type), reader, source)
  const serial = reader.u64()
  const role = readRole(reader.u32())
  const keyId = reader.text()
  const principals = readPrincipals(reader.string())
  const validAfter = readTime(reader.u64())
  const validBefore = readTime(reader.u64())
  const criticalOptions = readOptions(reader.string())
  const extensions = readOptions(reader.string())
  reader.string() // reserved
  const ca = parsePublicKey(reader.string())
  const signed = source.subarray(0, reader.offset)
  const signature = reader.string()
  reader.end()
  return {
    type,
    publicKey,
    serial,
    role,
    keyId,
    principals,
    validAfter,
    validBefore,
    criticalOptions,
    extensions,
    ca,
    signature,
    signed,
    blob: source,
  }
}
