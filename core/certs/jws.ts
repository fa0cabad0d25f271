/** Surface first: implementation follows in this file. */
import type { KeyObject } from 'node:crypto'
import type { KeyAlgorithm, Signer } from './signer.ts'

/** Compact JWS; `alg` comes from the signer. */
export declare function jwsSign(
  signer: Signer,
  header: Readonly<Record<string, unknown>>,
  payload: object,
  signal?: AbortSignal,
): Promise<string>
export interface JwsVerifyOptions {
  /** Any of these keys may have signed. */
  readonly keys: readonly KeyObject[]
  readonly algorithms: readonly KeyAlgorithm[]
  readonly typ?: string
  /** Checked before anything is parsed. */
  readonly maxBytes: number
}
export interface VerifiedJws {
  readonly header: Readonly<Record<string, unknown>>
  /** Parsed JSON; give it to a strict schema. */
  readonly payload: unknown
}
/** Throws ERR_PROOF_INVALID. */
export declare function jwsVerify(token: string, options: JwsVerifyOptions): Promise<VerifiedJws>
