/**
 * The CAs as the policy key signed them, for whoever knows a policy key and has nothing else to believe: the answer may have come
 * over any connection.
 */
import type { KeyObject } from 'node:crypto'
import { CAS_TYP, signedCas, type SignedCasPayload } from '../api/cas.ts'
import { fromSeconds, type Instant } from '../clock.ts'
import { AppError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { jwsVerify } from './jws.ts'
import { walkLinks } from './policy-key-link.ts'

const refuse = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_PROOF_INVALID', undefined, { internal: `signed CAs: ${internal}`, cause })

export interface OpenSignedCas {
  /** The policy keys that are known here. */
  readonly keys: readonly KeyObject[]
  readonly links: readonly string[]
  readonly cluster: string
  /** Of the CAs that are known here; fewer changes than that are a step back. */
  readonly version: number
  readonly now: Instant
}

/** Throws ERR_PROOF_INVALID unless a known key, or one that a known key vouched for, signed them and they are not old. */
export async function openSignedCas(jws: string, known: OpenSignedCas): Promise<SignedCasPayload> {
  const keys = await walkLinks(known.keys, known.links, known.cluster)
  const { payload } = await jwsVerify(jws, {
    keys,
    algorithms: ['ES256', 'EdDSA'],
    typ: CAS_TYP,
    maxBytes: LIMITS.httpBody.value,
  })
  const parsed = signedCas.safeParse(payload)
  if (!parsed.success) throw refuse('another shape', parsed.error)
  const { cluster, version, expires } = parsed.data
  if (cluster !== known.cluster) throw refuse('of another cluster')
  if (version < known.version) throw refuse(`version ${version}, and ${known.version} is known`)
  if (fromSeconds(expires) <= known.now) throw refuse('expired')
  return parsed.data
}
