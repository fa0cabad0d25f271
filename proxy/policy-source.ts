/** Where the proxy gets the signed policy from: the control plane, asked with requests signed by the proxy's identity. */
import { freshnessAnswer, policyAnswer } from '../core/api/policy.ts'
import { parse } from '../core/parse.ts'
import type { ApiClient } from '../net/http-client.ts'

/** Compact JWSs of the policy key. Nothing in them is believed before the signature was checked. */
export interface SignedPolicy {
  /** typ `postern-policy+jws`. */
  readonly policy: string
  /** typ `postern-fresh+jws`. */
  readonly freshness: string
  readonly links?: readonly string[]
  /** typ `postern-cas+jws`. */
  readonly cas?: string
}

export interface PolicySource {
  /** The newest policy. Rejects with the AppError of the call when the control plane cannot be asked. */
  policy(signal: AbortSignal): Promise<SignedPolicy>
  /** The newest freshness stamp alone. */
  freshness(signal: AbortSignal): Promise<string>
}

export function apiPolicySource(api: Pick<ApiClient, 'request'>): PolicySource {
  const from = { code: 'ERR_INTERNAL' } as const
  return {
    async policy(signal) {
      const body = await api.request('GET', '/v1/policy', undefined, { signal })
      return parse(policyAnswer, body, from)
    },
    async freshness(signal) {
      const body = await api.request('GET', '/v1/policy/freshness', undefined, { signal })
      return parse(freshnessAnswer, body, from).freshness
    },
  }
}
