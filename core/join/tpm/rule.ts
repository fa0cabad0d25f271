/** The `spec.tpm` of a token, in the words that existing token files use. All fields of a rule must fit, one rule is enough. */
import type { X509Certificate } from 'node:crypto'
import * as z from 'zod'
import { caCertificates } from '../vouched.ts'

const hash = z.string().regex(/^[0-9a-f]{64}$/, 'use 64 hexadecimal digits, in lower case')
const serial = z
  .string()
  .regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){0,19}$/, 'use pairs of hexadecimal digits, colons between')

const rule = z
  .strictObject({
    description: z.string().max(1024).optional(),
    /** SHA-256 of the SPKI of the endorsement key. */
    ek_public_hash: hash.optional(),
    ek_certificate_serial: serial.optional(),
  })
  .refine(
    (r) => r.ek_public_hash !== undefined || r.ek_certificate_serial !== undefined,
    'name at least one of ek_public_hash, ek_certificate_serial',
  )

export const tpmBlock = z
  .strictObject({
    /** PEM of the CAs that made the endorsement key certificates; given, a certificate is needed. */
    ekcert_allowed_cas: caCertificates.optional(),
    allow: z.array(rule).min(1, 'name at least one rule').max(500),
  })
  .superRefine((block, ctx) => {
    if (block.ekcert_allowed_cas) return
    // Anybody can write a certificate with any serial number.
    block.allow.forEach((r, at) => {
      if (r.ek_public_hash === undefined)
        ctx.addIssue({
          code: 'custom',
          path: ['allow', at, 'ek_certificate_serial'],
          message:
            'a serial number proves nothing without ekcert_allowed_cas; name those, or use ek_public_hash',
        })
    })
  })
export type TpmBlock = z.output<typeof tpmBlock>

export interface TpmFacts {
  readonly hash: string | undefined
  readonly serial: string | undefined
}

/** Why no rule admits this TPM; undefined when one does. */
export function tpmRefusal({ allow }: TpmBlock, facts: TpmFacts): string | undefined {
  const fits = allow.some(
    (r) =>
      (r.ek_public_hash === undefined || r.ek_public_hash === facts.hash) &&
      (r.ek_certificate_serial === undefined || r.ek_certificate_serial === facts.serial),
  )
  return fits ? undefined : `no rule allows the endorsement key ${facts.hash ?? '(none)'}`
}

/** A serial number as rules have it: `ab:cd:…`. */
export const serialOf = (certificate: X509Certificate): string =>
  (certificate.serialNumber.toLowerCase().match(/../g) ?? []).join(':')
