/**
 * Whether a leaf certificate holds. The issuer is one of the pinned CAs given here and nothing else: no chain is built and no
 * certificate that a peer offers is ever considered as an issuer (the lesson of CVE-2025-49825).
 */
import { verify, type KeyObject } from 'node:crypto'
import type { Instant } from '../clock.ts'
import { AppError } from '../errors.ts'
import { KEY_USAGE } from './oids.ts'
import type { Certificate, Usage } from './x509-read.ts'

export interface VerifyLeafOptions {
  /** The pinned CAs; several while one is being rotated. */
  readonly roots: readonly Certificate[]
  readonly now: Instant
  /** What the bearer does with it: `client` proves itself to us, `server` is one that we dialled. */
  readonly usage: Usage
}

const broken = (internal: string): AppError =>
  new AppError('ERR_CERT_INVALID', undefined, { internal })

const inForce = (certificate: Certificate, now: Instant): boolean =>
  certificate.notBefore <= now && now < certificate.notAfter

function signedBy(leaf: Certificate, root: Certificate): boolean {
  const { parts } = leaf
  if (parts.signatureAlgorithm !== root.algorithm) return false
  const digest = root.algorithm === 'ES256' ? 'sha256' : null
  return verify(digest, parts.tbs, root.publicKey, parts.signature)
}

function mayIssue(root: Certificate, leaf: Certificate): boolean {
  if (!root.isCa || !(root.parts.keyUsage & KEY_USAGE.keyCertSign)) return false
  if (!root.parts.subject.equals(leaf.parts.issuer)) return false
  const wanted = leaf.parts.authorityKeyId
  return !wanted || !root.parts.subjectKeyId || wanted.equals(root.parts.subjectKeyId)
}

/** Whether this very CA signed the leaf; says nothing about times and usage. */
export const issuedBy = (leaf: Certificate, root: Certificate): boolean =>
  mayIssue(root, leaf) && signedBy(leaf, root)

/** Returns when it holds; throws ERR_CERT_INVALID with the exact reason in `internal`. */
export function verifyLeaf(certificate: Certificate, options: VerifyLeafOptions): void {
  const { roots, now, usage } = options
  if (certificate.isCa) throw broken('a CA certificate where a leaf is expected')
  const issuers = roots.filter((root) => mayIssue(root, certificate))
  if (issuers.length === 0) throw broken('issuer is not a pinned CA')
  const issuer = issuers.find((root) => signedBy(certificate, root))
  if (!issuer) throw broken('signature of the CA does not hold')
  if (!inForce(issuer, now)) throw broken('the CA certificate is not in force')
  if (now < certificate.notBefore) throw broken('not valid yet')
  if (now >= certificate.notAfter) throw broken('expired')
  if (!(certificate.parts.keyUsage & KEY_USAGE.digitalSignature))
    throw broken('keyUsage lacks digitalSignature')
  if (!certificate.usages.includes(usage)) throw broken(`extendedKeyUsage lacks ${usage}Auth`)
  if (certificate.uris.length !== 1) throw broken(`${certificate.uris.length} URI names, not one`)
}

/** A self-signed CA of exactly this key, in force, that may issue. Throws ERR_CERT_INVALID with the exact reason in `internal`. */
export function verifyCa(
  certificate: Certificate,
  { key, now }: { readonly key: KeyObject; readonly now: Instant },
): void {
  if (!certificate.publicKey.equals(key)) throw broken('another key')
  if (!mayIssue(certificate, certificate)) throw broken('not a self-issued CA')
  if (!signedBy(certificate, certificate)) throw broken('its own signature does not hold')
  if (!inForce(certificate, now)) throw broken('not in force')
}
