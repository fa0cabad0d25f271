/** Whom TLS believes: the system's roots, the cluster's own CA, or both. (Surface first; implementation follows.) */
import type { ConnectionOptions } from 'node:tls'

export interface Trust {
  /** Accept what the machine accepts. */
  readonly system: boolean
  /** PEM certificates to accept besides, as the cluster's host CA. */
  readonly ca: readonly string[]
}
export const systemTrust: Trust = { system: true, ca: [] }
export declare function tlsOptions(trust: Trust): ConnectionOptions

export interface PinnedCa {
  /** PEMs whose key matches a pin; nothing else of the answer is believed. */
  readonly ca: readonly string[]
}
/**
 * Reads `GET <url>/v1/ca` over TLS that is not verified, sends nothing secret, keeps only certificates whose key matches a
 * pin (`sha256:<hex>`). Throws ERR_CA_PIN_MISMATCH when none does.
 */
export declare function fetchPinnedCa(options: {
  readonly url: string
  readonly pins: readonly string[]
  readonly signal?: AbortSignal | undefined
  /** `HTTPS_PROXY` as the environment gives it. */
  readonly proxy?: string | undefined
}): Promise<PinnedCa>
