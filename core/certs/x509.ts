/**
 * Signs X.509 certificates (RFC 5280): the self-signed CAs and the leaves below them. There are no intermediates. Reading is in
 * x509-read.ts, verifying in x509-verify.ts.
 */
import { createHash, type KeyObject } from 'node:crypto'
import type { Instant } from '../clock.ts'
import { invariant } from '../errors.ts'
import { systemRandom, type Random } from '../random.ts'
import {
  bitString,
  contextual,
  contextualPrimitive,
  integer,
  octetString,
  oid,
  sequence,
  set,
  time,
  TRUE,
  utf8String,
} from './der.ts'
import { parseIp } from './ip.ts'
import { checkLifetime, checkSize, checkSubjectKey, refuse, type Bearer } from './issue-rules.ts'
import { KEY_USAGE, OID } from './oids.ts'
import { sameKey, spki, type KeyAlgorithm, type Signer } from './signer.ts'
import { parseSpiffe } from './spiffe.ts'
import { STANDARD_EXTENSIONS, type Usage } from './x509-extensions.ts'
import type { Certificate } from './x509-read.ts'

export interface CaRequest {
  /** Common name; subject and issuer at once. */
  readonly name: string
  readonly signer: Signer
  readonly notBefore: Instant
  /** CA certificates have no longest lifetime: pins are on keys, and rotation replaces them. */
  readonly notAfter: Instant
}

export interface Extension {
  readonly oid: string
  readonly critical: boolean
  /** DER of the value, without the OCTET STRING around it. */
  readonly value: Buffer
}

export interface CertificateRequest {
  /** Common name. One longer than the 64 characters of X.520 is left out; the names below then become critical. */
  readonly subject: string
  readonly publicKey: KeyObject
  /** Read the CA's certificate once with readCertificate and keep it. */
  readonly issuer: { readonly certificate: Certificate; readonly signer: Signer }
  readonly notBefore: Instant
  readonly notAfter: Instant
  /** None, or one canonical SPIFFE id. */
  readonly uris?: readonly string[]
  readonly dns?: readonly string[]
  readonly ips?: readonly string[]
  readonly usage: readonly Usage[]
  readonly extension?: Extension
}

const SIGNATURE_ALGORITHM: Record<KeyAlgorithm, Buffer> = {
  ES256: sequence(oid(OID.ecdsaWithSha256)),
  EdDSA: sequence(oid(OID.ed25519)),
}
const EKU: Record<Usage, Buffer> = { client: oid(OID.clientAuth), server: oid(OID.serverAuth) }
const VERSION_3 = contextual(0, integer(Buffer.of(2)))
const NO_CA = extension(OID.basicConstraints, true, sequence())
// pathLenConstraint 0: no CA may stand below a CA of ours.
const CA = extension(OID.basicConstraints, true, sequence(TRUE, integer(Buffer.of(0))))
const LEAF_KEY_USAGE = extension(
  OID.keyUsage,
  true,
  bitString(Buffer.of(KEY_USAGE.digitalSignature), 7),
)
const CA_KEY_USAGE = extension(
  OID.keyUsage,
  true,
  bitString(Buffer.of(KEY_USAGE.keyCertSign | KEY_USAGE.cRLSign), 1),
)

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return critical
    ? sequence(oid(id), TRUE, octetString(value))
    : sequence(oid(id), octetString(value))
}

/** RFC 5280 section 4.2.1.2 (1): SHA-1 of the key's bits. A name for finding the key; nothing rests on it. */
function keyIdentifier(key: KeyObject): Buffer {
  const info = spki(key)
  const bits = info.subarray(info.length === 91 ? 26 : 12)
  return createHash('sha1').update(bits).digest()
}

const authorities = new WeakMap<Certificate, Buffer>()
/** The extension that names the CA's key: the same in all that it signs. */
function authorityKeyIdentifier(ca: Certificate): Buffer {
  const known = authorities.get(ca)
  if (known) return known
  const value = sequence(contextualPrimitive(0, keyIdentifier(ca.publicKey)))
  const made = extension(OID.authorityKeyIdentifier, false, value)
  authorities.set(ca, made)
  return made
}

function commonName(name: string): Buffer {
  if (name === '' || /[\u0000-\u001f\u007f]/.test(name)) throw refuse('subject: not a name')
  return [...name].length > 64
    ? sequence()
    : sequence(set(sequence(oid(OID.commonName), utf8String(name))))
}

/** 127 random bits, never zero: unique without a counter that functions would have to share. */
function serialNumber(random: Random): Buffer {
  const bytes = random.bytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return integer(bytes)
}

interface ToBeSigned {
  readonly issuer: Buffer
  readonly subject: Buffer
  readonly publicKey: KeyObject
  readonly notBefore: Instant
  readonly notAfter: Instant
  readonly extensions: readonly Buffer[]
}

async function signed(parts: ToBeSigned, signer: Signer, random: Random): Promise<Buffer> {
  const algorithm = SIGNATURE_ALGORITHM[signer.algorithm]
  const body = sequence(
    VERSION_3,
    serialNumber(random),
    algorithm,
    parts.issuer,
    sequence(time(parts.notBefore), time(parts.notAfter)),
    parts.subject,
    spki(parts.publicKey),
    contextual(3, sequence(...parts.extensions)),
  )
  return checkSize(sequence(body, algorithm, bitString(await signer.sign(body))))
}

/** A self-signed CA certificate in DER. Throws ERR_CERT_REQUEST_REFUSED. */
export async function createCaCertificate(
  request: CaRequest,
  random: Random = systemRandom,
): Promise<Buffer> {
  const { signer, notBefore, notAfter } = request
  if (!(notBefore >= 0 && notAfter > notBefore)) throw refuse('it must end after it begins')
  if ([...request.name].length > 64) throw refuse('name: at most 64 characters')
  const name = commonName(request.name)
  const keyId = keyIdentifier(signer.publicKey)
  const extensions = [
    CA,
    CA_KEY_USAGE,
    extension(OID.subjectKeyIdentifier, false, octetString(keyId)),
    extension(OID.authorityKeyIdentifier, false, sequence(contextualPrimitive(0, keyId))),
  ]
  const { publicKey } = signer
  return signed(
    { issuer: name, subject: name, publicKey, notBefore, notAfter, extensions },
    signer,
    random,
  )
}

const DNS =
  /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/

function altNames(request: CertificateRequest): Buffer[] {
  const dns = (request.dns ?? []).map((name) => {
    if (!DNS.test(name)) throw refuse('dns: not a DNS name in lower case')
    return contextualPrimitive(2, Buffer.from(name, 'latin1'))
  })
  const uris = (request.uris ?? []).map((uri) => contextualPrimitive(6, Buffer.from(uri, 'latin1')))
  const ips = (request.ips ?? []).map((text) => {
    const bytes = parseIp(text)
    if (!bytes) throw refuse('ips: not an IP address')
    return contextualPrimitive(7, bytes)
  })
  return [...dns, ...uris, ...ips]
}

/** Who will hold it decides how long it may live. */
function bearerOf(uris: readonly string[]): Bearer {
  const [uri, ...more] = uris
  if (uri === undefined) return 'machine'
  const id = parseSpiffe(uri)
  if (!id || more.length > 0) throw refuse('uris: one canonical SPIFFE id is allowed')
  return id.kind === 'user' ? 'user' : 'machine'
}

/** A leaf certificate in DER. Throws ERR_CERT_REQUEST_REFUSED, ERR_CERT_TTL_TOO_LONG. */
export async function issueCertificate(
  request: CertificateRequest,
  random: Random = systemRandom,
): Promise<Buffer> {
  const { publicKey, notBefore, notAfter, usage } = request
  const { certificate: ca, signer } = request.issuer
  checkSubjectKey(publicKey)
  checkLifetime(bearerOf(request.uris ?? []), notBefore, notAfter)
  if (usage.length === 0) throw refuse('usage: at least one is needed')
  invariant(ca.isCa && sameKey(signer.publicKey, ca.publicKey), 'the signer is the CA')
  if (sameKey(publicKey, ca.publicKey)) throw refuse('the key is the key of the CA itself')
  const subject = commonName(request.subject)
  const names = altNames(request)
  const anonymous = subject.length === 2
  if (anonymous && names.length === 0) throw refuse('subject: at most 64 characters')
  const extensions = [
    NO_CA,
    LEAF_KEY_USAGE,
    extension(OID.extendedKeyUsage, false, sequence(...usage.map((use) => EKU[use]))),
    extension(OID.subjectKeyIdentifier, false, octetString(keyIdentifier(publicKey))),
    authorityKeyIdentifier(ca),
  ]
  if (names.length > 0)
    extensions.push(extension(OID.subjectAltName, anonymous, sequence(...names)))
  const own = request.extension
  if (own) {
    if (STANDARD_EXTENSIONS.has(own.oid)) throw refuse('extension: that one is written by the CA')
    extensions.push(extension(own.oid, own.critical, own.value))
  }
  return signed(
    { issuer: ca.parts.subject, subject, publicKey, notBefore, notAfter, extensions },
    signer,
    random,
  )
}
