/**
 * The attestation key of a TPM: what its public area says, and what it signed. A restricted signing key that was made in a TPM and
 * can never leave it signs nothing but what the TPM itself wrote (TPM 2.0 Library, Part 1, 25.3), so its signature over our bytes
 * says that a TPM was asked to vouch for them.
 */
import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto'
import { AppError } from '../../errors.ts'
import { ALG, ATTRIBUTE, CURVE_P256, sized, TpmReader, u16 } from './wire.ts'

export interface AttestationKey {
  /** What the TPM calls it: algorithm and digest of its public area. */
  readonly name: Buffer
  readonly attributes: number
  readonly key: KeyObject
}

const invalid = (message: string): AppError => new AppError('ERR_INPUT_INVALID', message)

/** The name of a public area, without a look inside. */
export const nameOf = (publicArea: Buffer): Buffer =>
  Buffer.concat([u16(ALG.sha256), createHash('sha256').update(publicArea).digest()])

/** SPKI of P-256 up to the point. */
const P256 = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex')

/** A TPMT_PUBLIC of the one form that we use: ECDSA over P-256 with SHA-256. Throws ERR_INPUT_INVALID. */
export function readAttestationKey(publicArea: Buffer): AttestationKey {
  const reader = new TpmReader(publicArea)
  if (reader.u16() !== ALG.ecc) throw invalid('the attestation key is not an elliptic curve key')
  if (reader.u16() !== ALG.sha256) throw invalid('the attestation key is not named by SHA-256')
  const attributes = reader.u32()
  reader.sized()
  if (reader.u16() !== ALG.null) throw invalid('the attestation key has a symmetric algorithm')
  if (reader.u16() !== ALG.ecdsa || reader.u16() !== ALG.sha256)
    throw invalid('the attestation key does not sign by ECDSA with SHA-256')
  if (reader.u16() !== CURVE_P256) throw invalid('the attestation key is not on P-256')
  if (reader.u16() !== ALG.null) throw invalid('the attestation key derives keys')
  const [x, y] = [reader.sized(), reader.sized()]
  reader.end()
  if (x.length !== 32 || y.length !== 32) throw invalid('the attestation key has no point of P-256')
  const der = Buffer.concat([P256, x, y])
  try {
    const key = createPublicKey({ key: der, format: 'der', type: 'spki' })
    return { name: nameOf(publicArea), attributes, key }
  } catch (cause) {
    throw new AppError('ERR_INPUT_INVALID', 'the attestation key is no point of P-256', { cause })
  }
}

const NEEDED = ['fixedTpm', 'fixedParent', 'sensitiveDataOrigin', 'restricted', 'sign'] as const

/** Why this is no key to attest with; undefined when it is one. */
export function weakness({ attributes }: AttestationKey): string | undefined {
  const missing = NEEDED.find((name) => (attributes & ATTRIBUTE[name]) === 0)
  if (missing !== undefined) return `the attestation key is not ${missing}`
  return attributes & ATTRIBUTE.decrypt ? 'the attestation key decrypts as well' : undefined
}

const GENERATED = 0xff544347
const CERTIFY = 0x8017

/** `r` and `s` as the TPM writes them, in the form that node:crypto reads. */
function p1363(signature: Buffer): Buffer {
  const reader = new TpmReader(signature)
  if (reader.u16() !== ALG.ecdsa || reader.u16() !== ALG.sha256)
    throw invalid('the signature is not ECDSA with SHA-256')
  const parts = [reader.sized(), reader.sized()]
  reader.end()
  if (parts.some((part) => part.length > 32)) throw invalid('the signature is too long')
  return Buffer.concat(parts.map((part) => Buffer.concat([Buffer.alloc(32 - part.length), part])))
}

/**
 * Checks a TPM2_Certify of the key by itself: `attest` is a TPMS_ATTEST, `signature` a TPMT_SIGNATURE. Answers why it does not
 * hold; undefined when it does. Throws ERR_INPUT_INVALID for bytes that are neither.
 */
export function certifyFlaw(
  by: AttestationKey,
  given: { readonly attest: Buffer; readonly signature: Buffer },
  binding: Buffer,
): string | undefined {
  const { attest, signature } = given
  const sig = p1363(signature)
  if (!verify('sha256', attest, { key: by.key, dsaEncoding: 'ieee-p1363' }, sig))
    return 'the attestation is not signed by the attestation key'
  const reader = new TpmReader(attest)
  if (reader.u32() !== GENERATED) return 'the attestation was not written by a TPM'
  if (reader.u16() !== CERTIFY) return 'the attestation certifies nothing'
  reader.sized()
  const extra = reader.sized()
  // Clock, reset and restart counts, safe flag; then the firmware's version.
  reader.take(17 + 8)
  const name = reader.sized()
  reader.sized()
  reader.end()
  if (!name.equals(by.name)) return 'the attestation is of another key'
  return extra.equals(binding) ? undefined : 'the attestation is for another join'
}

/** TPMT_PUBLIC of the key that an agent makes to attest with. */
export const ATTESTATION_TEMPLATE = Buffer.concat([
  u16(ALG.ecc),
  u16(ALG.sha256),
  // No protection against guesses: it has no password.
  Buffer.from('00050472', 'hex'),
  sized(),
  u16(ALG.null),
  u16(ALG.ecdsa),
  u16(ALG.sha256),
  u16(CURVE_P256),
  u16(ALG.null),
  sized(),
  sized(),
])
