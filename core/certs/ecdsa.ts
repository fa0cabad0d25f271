/** ECDSA P-256 signatures: from DER Ecdsa-Sig-Value, as KMS and X.509 have them, to r ‖ s, as JWS and SSH need them. */
import { AppError } from '../errors.ts'
import { DerReader, readUnsigned, TAG } from './der.ts'

const HALF = 32

/** Throws ERR_CERT_INVALID when it is not DER or does not fit P-256. */
export function derToRaw(der: Uint8Array): Buffer {
  const outer = new DerReader(Buffer.from(der))
  const values = outer.enter(TAG.sequence)
  outer.end()
  const raw = Buffer.alloc(2 * HALF)
  for (const end of [HALF, 2 * HALF]) {
    const value = readUnsigned(values.expect(TAG.integer).content)
    if (value.length > HALF)
      throw new AppError('ERR_CERT_INVALID', undefined, { internal: 'ECDSA value exceeds P-256' })
    value.copy(raw, end - value.length)
  }
  values.end()
  return raw
}
