/** Calls to the control plane: JSON over HTTPS with deadlines and caps. (Surface first; implementation follows.) */
import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { Signer } from '../core/certs/signer.ts'
import type { Certificate } from '../core/certs/x509-read.ts'
import type { Trust } from './trust.ts'

export type HttpMethod = 'GET' | 'POST' | 'PUT' | 'DELETE'
export interface ApiClientOptions {
  /** Origin of the API, as `https://access.example.com` (from the discovery document). */
  readonly baseUrl: string
  readonly trust: Trust
  /** Signs each request as this identity. Needs `cluster`. A function, because identities are renewed. */
  readonly identity?:
    | (() => { readonly certificate: Certificate; readonly signer: Signer })
    | undefined
  readonly cluster?: string | undefined
  /** API key or OIDC token instead. */
  readonly bearer?: string | undefined
  readonly clock?: Clock | undefined
  readonly random?: Random | undefined
  readonly proxy?: string | undefined
}
export interface ApiRequestOptions {
  readonly signal?: AbortSignal | undefined
  readonly idempotencyKey?: string | undefined
  /** Milliseconds for the whole call, default LIMITS.httpTimeout. */
  readonly timeout?: number | undefined
  readonly ifNoneMatch?: string | undefined
}
export interface ApiResponse {
  readonly status: number
  /** Parsed JSON; undefined for 204 and 304. Untrusted: give it to a schema. */
  readonly body: unknown
  readonly etag: string | undefined
  readonly requestId: string | undefined
}
export interface ApiClient {
  /** The parsed JSON answer; untrusted, give it to a schema. Throws AppError made from problem+json. */
  request(
    method: HttpMethod,
    path: string,
    body?: unknown,
    options?: ApiRequestOptions,
  ): Promise<unknown>
  /** The same with status, etag and request id; 304 is an answer, not an error. */
  send(
    method: HttpMethod,
    path: string,
    body?: unknown,
    options?: ApiRequestOptions,
  ): Promise<ApiResponse>
  /** Server clock minus ours in milliseconds, learned from ERR_CLOCK; 0 until then. */
  readonly clockOffset: number
  close(): void
}
export declare function apiClient(options: ApiClientOptions): ApiClient
