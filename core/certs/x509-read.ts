/**
 * Reads the X.509 certificates that we sign, and no others: version 3, P-256 or Ed25519, strict DER, each extension once, no
 * unknown critical one. All facts come from the very bytes that the signature covers; whether it holds is x509-verify.ts's matter.
 */
import { createHash, type KeyObject } from 'node:crypto'
import type { Instant } from '../clock.ts'
import { isAppError } from '../errors.ts'
import type { Thumbprint } from '../ids.ts'
import { LIMITS } from '../limits.ts'
import { DerReader, readBitString, readOid, readTime, readUnsigned, TAG } from './der.ts'
import { OID } from './oids.ts'
import { keyAlgorithm, publicKeyOf, thumbprint, type KeyAlgorithm } from './signer.ts'
import {
  broken,
  readAltNames,
  readAuthorityKeyId,
  readBasicConstraints,
  readExtensions,
  readKeyUsage,
  readSubjectKeyId,
  readUsages,
  within,
  type Usage,
} from './x509-extensions.ts'

export type { Usage } from './x509-extensions.ts'

/** What verification needs: views of the bytes. */
export interface CertificateParts {
  readonly tbs: Buffer
  readonly signature: Buffer
  readonly signatureAlgorithm: KeyAlgorithm
  /** Names as DER: compared byte by byte. */
  readonly issuer: Buffer
  readonly subject: Buffer
  readonly keyUsage: number
  readonly subjectKeyId: Buffer | undefined
  readonly authorityKeyId: Buffer | undefined
}

export interface Certificate {
  /** DER. */
  readonly raw: Buffer
  /** Common name, or empty. Never an identity: that is the URI. */
  readonly subject: string
  readonly publicKey: KeyObject
  readonly algorithm: KeyAlgorithm
  readonly thumbprint: Thumbprint
  readonly uris: readonly string[]
  readonly dns: readonly string[]
  readonly ips: readonly string[]
  readonly usages: readonly Usage[]
  readonly isCa: boolean
  readonly notBefore: Instant
  readonly notAfter: Instant
  /** Hex. */
  readonly serial: string
  /** SHA-256 of the DER, base64url. */
  readonly fingerprint: string
  readonly parts: CertificateParts
  /** DER of an extension's value, undefined when the certificate has none of that kind. */
  extension(oid: string): Buffer | undefined
}

const ALGORITHM: Readonly<Record<string, KeyAlgorithm>> = {
  [OID.ecdsaWithSha256]: 'ES256',
  [OID.ed25519]: 'EdDSA',
}

const PEM = /^\s*-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*$/

function derOf(input: string | Uint8Array): Buffer {
  // PEM is a third longer than DER, line ends included some more.
  const cap = LIMITS.certSize.value * (typeof input === 'string' ? 1.5 : 1)
  if (input.length > cap) throw broken('too large')
  if (typeof input !== 'string') return Buffer.from(input)
  const body = PEM.exec(input)?.[1]
  if (body === undefined) throw broken('not one PEM block')
  const der = Buffer.from(body, 'base64')
  if (der.toString('base64') !== body.replace(/\s/g, '')) throw broken('base64 is not canonical')
  return der
}

export function toPem(der: Uint8Array): string {
  const body = Buffer.from(der)
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n')
  return `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`
}

function readAlgorithm(reader: DerReader): KeyAlgorithm {
  const body = reader.enter(TAG.sequence)
  const algorithm = ALGORITHM[readOid(body.expect(TAG.oid).content)]
  body.end()
  if (!algorithm) throw broken('signature algorithm is not allowed')
  return algorithm
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

function commonNameOf(name: Buffer): string {
  const outer = new DerReader(name).enter(TAG.sequence)
  let found = ''
  while (!outer.done) {
    const attributes = outer.enter(TAG.set)
    while (!attributes.done) {
      const pair = attributes.enter(TAG.sequence)
      const kind = readOid(pair.expect(TAG.oid).content)
      const value = pair.next()
      pair.end()
      if (value.tag !== TAG.utf8String && value.tag !== TAG.printableString)
        throw broken('kind of text in a name')
      const text = utf8.decode(value.content)
      if (kind === OID.commonName) found = text
    }
  }
  return found
}

function read(raw: Buffer): Certificate {
  const top = new DerReader(raw)
  const outer = top.enter(TAG.sequence)
  top.end()
  const tbs = outer.expect(TAG.sequence)
  const signatureAlgorithm = readAlgorithm(outer)
  const signature = readBitString(outer.expect(TAG.bitString).content)
  outer.end()
  if (signature.unused !== 0) throw broken('signature bits')

  const body = new DerReader(tbs.content)
  const version = body.enter(0xa0)
  if (!version.expect(TAG.integer).content.equals(Buffer.of(2))) throw broken('not version 3')
  version.end()
  const serial = readUnsigned(body.expect(TAG.integer).content)
  if (serial.length > 20) throw broken('serial number is too long')
  if (readAlgorithm(body) !== signatureAlgorithm) throw broken('two signature algorithms')
  const issuer = body.expect(TAG.sequence).raw
  const validity = body.enter(TAG.sequence)
  const notBefore = readTime(validity.next())
  const notAfter = readTime(validity.next())
  validity.end()
  const subject = body.expect(TAG.sequence).raw
  const publicKey = publicKeyOf(body.expect(TAG.sequence).raw)
  const extensions = readExtensions(body)
  body.end()

  const names = within(extensions.get(OID.subjectAltName), readAltNames)
  const keyUsage = within(extensions.get(OID.keyUsage), readKeyUsage)
  commonNameOf(issuer)
  return {
    raw,
    subject: commonNameOf(subject),
    publicKey,
    algorithm: keyAlgorithm(publicKey),
    thumbprint: thumbprint(publicKey),
    uris: names?.uris ?? [],
    dns: names?.dns ?? [],
    ips: names?.ips ?? [],
    usages: within(extensions.get(OID.extendedKeyUsage), readUsages) ?? [],
    isCa: within(extensions.get(OID.basicConstraints), readBasicConstraints) ?? false,
    notBefore,
    notAfter,
    serial: serial.toString('hex'),
    fingerprint: createHash('sha256').update(raw).digest('base64url'),
    parts: {
      tbs: tbs.raw,
      signature: signature.bytes,
      signatureAlgorithm,
      issuer,
      subject,
      keyUsage: keyUsage ?? 0,
      subjectKeyId: within(extensions.get(OID.subjectKeyIdentifier), readSubjectKeyId),
      authorityKeyId: within(extensions.get(OID.authorityKeyIdentifier), readAuthorityKeyId),
    },
    extension: (id) => extensions.get(id),
  }
}

/** One certificate from PEM (one block, nothing around it) or DER. Throws ERR_CERT_INVALID, whatever the bytes are. */
export function readCertificate(pemOrDer: string | Uint8Array): Certificate {
  const raw = derOf(pemOrDer)
  try {
    return read(raw)
  } catch (e) {
    if (isAppError(e) && e.code === 'ERR_CERT_INVALID') throw e
    throw broken('public key or text', e)
  }
}
