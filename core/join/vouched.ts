/**
 * Certificates of other people's making, and the CAs that a token or we name: issued directly by one of these, both in force. No
 * chain is built, nothing that came along is considered as an issuer, no address inside is fetched (CVE-2026-45796).
 */
import { X509Certificate } from 'node:crypto'
import * as z from 'zod'
import type { Instant } from '../clock.ts'
import { AppError } from '../errors.ts'

/** Throws ERR_INPUT_INVALID. The size is the caller's check, before this. */
export function readForeignCertificate(der: Uint8Array): X509Certificate {
  try {
    const certificate = new X509Certificate(der)
    // A certificate with anything around it is another one than the one that was signed.
    if (certificate.raw.equals(der)) return certificate
  } catch (cause) {
    throw new AppError('ERR_INPUT_INVALID', 'not a certificate', { cause })
  }
  throw new AppError('ERR_INPUT_INVALID', 'not one certificate alone')
}

export const inForce = (certificate: X509Certificate, now: Instant): boolean =>
  Date.parse(certificate.validFrom) <= now && now < Date.parse(certificate.validTo)

/** Why none of the CAs vouches for this certificate now; undefined when one does. */
export function unvouched(
  leaf: X509Certificate,
  cas: readonly X509Certificate[],
  now: Instant,
): string | undefined {
  if (leaf.ca) return 'the certificate is one of a CA'
  const issuers = cas.filter((ca) => ca.ca && leaf.checkIssued(ca))
  if (issuers.length === 0) return 'the certificate is of no CA that is listed'
  const issuer = issuers.find((ca) => leaf.verify(ca.publicKey))
  if (!issuer) return 'the signature of the CA does not hold'
  if (!inForce(issuer, now)) return 'the CA is not in force'
  return inForce(leaf, now) ? undefined : 'the certificate is not in force'
}

/** CA certificates in PEM, one a text, as token files list them. */
export const caCertificates = z
  .array(
    z
      .string()
      .max(16_384)
      .refine((pem) => {
        try {
          return (pem.match(/-----BEGIN/g) ?? []).length === 1 && new X509Certificate(pem).ca
        } catch {
          return false
        }
      }, 'use one CA certificate in PEM'),
  )
  .min(1)
  .max(64)
