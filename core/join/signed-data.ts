/**
 * The one kind of CMS message that `ec2` and `azure` need (RFC 5652): SignedData with its content inside and a single signer. The
 * answer is the content that was signed. Certificates that come along prove nothing: `ec2` has the keys and does not read them, for
 * `azure` the one whose key signed is the one that has to be vouched for. A second signer or a second copy of anything is refused.
 *
 * AWS sends BER with indefinite lengths. It is rewritten as DER first, so that there is one strict reader (core/certs/der.ts).
 */
import { createHash, verify, type KeyObject, type X509Certificate } from 'node:crypto'
import { DerReader, octetString, readOid, TAG, tlv } from '../certs/der.ts'
import { AppError } from '../errors.ts'
import { readForeignCertificate } from './vouched.ts'

const broken = (internal: string): AppError =>
  new AppError('ERR_CERT_INVALID', undefined, { internal: `CMS: ${internal}` })

/** A message of ours nests 9 deep. */
const DEPTH = 16
const CONSTRUCTED = 0x20

interface Value {
  readonly der: Buffer
  readonly end: number
}

/** Rewrites the value that starts at `at`. Total: every byte is read at most once. */
function toDer(bytes: Buffer, at: number, limit: number, depth: number): Value {
  if (depth > DEPTH) throw broken('nested too deep')
  const tag = bytes[at]
  const first = bytes[at + 1]
  if (tag === undefined || first === undefined || at + 2 > limit) throw broken('truncated header')
  if ((tag & 0x1f) === 0x1f) throw broken('high tag number')
  const constructed = (tag & CONSTRUCTED) !== 0
  let start = at + 2
  let end: number | undefined
  if (first !== 0x80) {
    let length = first
    if (first & 0x80) {
      const count = first & 0x7f
      if (count > 3 || start + count > limit) throw broken('length of a length')
      length = bytes.readUIntBE(start, count)
      start += count
    }
    end = start + length
    if (end > limit) throw broken('truncated value')
  } else if (!constructed) throw broken('a primitive of indefinite length')
  if (!constructed) return { der: tlv(tag, bytes.subarray(start, end)), end: end ?? start }
  const parts: Value[] = []
  let next = start
  for (;;) {
    if (end === undefined && bytes[next] === 0 && bytes[next + 1] === 0 && next + 2 <= limit) {
      next += 2
      break
    }
    if (end !== undefined && next === end) break
    const part = toDer(bytes, next, end ?? limit, depth + 1)
    parts.push(part)
    next = part.end
  }
  const inner = parts.map((part) => part.der)
  // An OCTET STRING in pieces, as streaming signers write it, is one whole in DER.
  const der =
    tag === (TAG.octetString | CONSTRUCTED)
      ? octetString(
          Buffer.concat(inner.map((piece) => new DerReader(piece).expect(TAG.octetString).content)),
        )
      : tlv(tag, ...inner)
  return { der, end: next }
}

const OID = {
  data: '1.2.840.113549.1.7.1',
  signedData: '1.2.840.113549.1.7.2',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  sha256: '2.16.840.1.101.3.4.2.1',
  rsa: '1.2.840.113549.1.1.1',
  sha256WithRsa: '1.2.840.113549.1.1.11',
} as const
const CONTEXT_0 = 0xa0
const CONTEXT_1 = 0xa1

const oidOf = (reader: DerReader): string => readOid(reader.expect(TAG.oid).content)
/** The algorithm; whatever parameters it has are none that these two take. */
const algorithmOf = (reader: DerReader): string => oidOf(reader.enter(TAG.sequence))

/** Checks the signed attributes against the content. The bytes that the signature is over: the same as a SET (section 5.4). */
function signedAttributes(raw: Buffer, content: Buffer): Buffer {
  const asSet = Buffer.from(raw)
  asSet[0] = TAG.set
  const seen = new Map<string, Buffer>()
  const list = new DerReader(asSet).enter(TAG.set)
  while (!list.done) {
    const attribute = list.enter(TAG.sequence)
    const type = oidOf(attribute)
    const values = attribute.enter(TAG.set)
    attribute.end()
    if (seen.has(type)) throw broken('an attribute is given twice')
    seen.set(type, values.next().content)
    values.end()
  }
  const type = seen.get(OID.contentType)
  if (!type || readOid(type) !== OID.data) throw broken('content type')
  const digest = createHash('sha256').update(content).digest()
  if (!seen.get(OID.messageDigest)?.equals(digest)) throw broken('the digest is of other content')
  return asSet
}

/** Certificates that we would look at; more are somebody's attempt to make us work. */
const MAX_CERTIFICATES = 8

interface Signed {
  /** DER, as they came. */
  readonly certificates: readonly Buffer[]
  readonly content: Buffer
  readonly over: Buffer
  readonly signature: Buffer
}

function certificatesOf(bag: Buffer | undefined): Buffer[] {
  const reader = new DerReader(bag ?? Buffer.alloc(0))
  const found: Buffer[] = []
  while (!reader.done && found.length < MAX_CERTIFICATES) found.push(reader.next().raw)
  return found
}

function read(message: Buffer): Signed {
  const { der, end } = toDer(message, 0, message.length, 0)
  if (end !== message.length) throw broken('trailing bytes')
  const info = new DerReader(der).enter(TAG.sequence)
  if (oidOf(info) !== OID.signedData) throw broken('not signed data')
  const explicit = info.enter(CONTEXT_0)
  info.end()
  const signedData = explicit.enter(TAG.sequence)
  explicit.end()
  signedData.expect(TAG.integer)
  signedData.expect(TAG.set)
  const encapsulated = signedData.enter(TAG.sequence)
  if (oidOf(encapsulated) !== OID.data) throw broken('content is not data')
  const held = encapsulated.enter(CONTEXT_0)
  encapsulated.end()
  const { content } = held.expect(TAG.octetString)
  held.end()
  const bag = signedData.optional(CONTEXT_0)
  signedData.optional(CONTEXT_1)
  const signers = signedData.enter(TAG.set)
  signedData.end()
  const signer = signers.enter(TAG.sequence)
  if (!signers.done) throw broken('more than one signer')
  signer.expect(TAG.integer)
  // Who the signer says it is: of no interest, the key decides.
  signer.next()
  // Azure writes the algorithm of the signature where that of the digest belongs; it says as much.
  const digest = algorithmOf(signer)
  if (digest !== OID.sha256 && digest !== OID.sha256WithRsa)
    throw broken('the digest is not SHA-256')
  const attributes = signer.optional(CONTEXT_0)
  const algorithm = algorithmOf(signer)
  if (algorithm !== OID.rsa && algorithm !== OID.sha256WithRsa) throw broken('not signed by RSA')
  const signature = signer.expect(TAG.octetString).content
  signer.optional(CONTEXT_1)
  signer.end()
  return {
    certificates: certificatesOf(bag?.content),
    content,
    signature,
    over: attributes ? signedAttributes(attributes.raw, content) : content,
  }
}

/** What was signed, and by which of the keys. Throws ERR_CERT_INVALID with the exact reason in `internal`. */
export function verifySignedData<K extends { readonly key: KeyObject }>(
  message: Buffer,
  keys: readonly K[],
): { readonly content: Buffer; readonly by: K } {
  const { content, over, signature } = read(message)
  const by = keys.find(({ key }) => verify('sha256', over, key, signature))
  if (!by) throw broken('signed by none of the keys')
  return { content, by }
}

/**
 * What was signed, and the certificate among those in the message whose key did it. Throws ERR_CERT_INVALID with the exact reason in
 * `internal`. Whether anybody vouches for that certificate is the caller's next question, about this one and no other (SPIRE 1.14.7).
 */
export function verifyBySender(message: Buffer): {
  readonly content: Buffer
  readonly by: X509Certificate
} {
  const { certificates, content, over, signature } = read(message)
  for (const der of certificates) {
    const certificate = readForeignCertificate(der)
    const { asymmetricKeyType, asymmetricKeyDetails } = certificate.publicKey
    const { modulusLength = 0 } = asymmetricKeyDetails ?? {}
    if (asymmetricKeyType !== 'rsa' || modulusLength < 2048 || modulusLength > 4096) continue
    if (verify('sha256', over, certificate.publicKey, signature))
      return { content, by: certificate }
  }
  throw broken('signed by the key of none of its certificates')
}
