/** Where the proxy gets the signed policy from: `GET /v1/policy`, asked with a request signed by the proxy's identity. */
import { AppError } from '../core/errors.ts'
import type { ApiClient } from '../net/http-client.ts'

/** Signed by the policy key; nothing is believed before the signature was checked. */
export interface PolicyAnswer {
  /** Policy JWS; undefined when the policy is still the one that `etag` named. */
  readonly policy: string | undefined
  /** Freshness JWS. */
  readonly fresh: string | undefined
  readonly etag: string | undefined
}

export interface PolicySource {
  /** Rejects with the AppError of the call when the control plane cannot be asked. */
  fetch(etag: string | undefined, signal: AbortSignal): Promise<PolicyAnswer>
}
