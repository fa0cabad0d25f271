/**
 * The policy on the wire (protocols.md 6). `GET /v1/policy` answers 200 with a new document or 304 for `if-none-match`; both
 * carry the freshness stamp in a header. `GET /v1/policy/freshness` gives the stamp alone.
 */
import * as z from 'zod'

/** JWS `typ` of the document and of the stamp. */
export const POLICY_TYP = 'postern-policy+jws'
export const FRESHNESS_TYP = 'postern-fresh+jws'
/** Header of every 200 and 304 of `GET /v1/policy`: the freshness JWS. */
export const FRESHNESS_HEADER = 'x-postern-fresh'

/** `GET /v1/policy`, 200. The ETag is the version in double quotes. */
export const policyAnswer = z.object({
  version: z.int(),
  /** Compact JWS of a `Policy`. */
  policy: z.string(),
  /** Compact JWS of a `Freshness`. */
  freshness: z.string(),
  /** How the policy key came to be the one it is, for who was away while it changed. */
  links: z.array(z.string()).exactOptional(),
  /** Compact JWS of the CAs, for a proxy to hand on. */
  cas: z.string().exactOptional(),
})
export type PolicyAnswer = z.output<typeof policyAnswer>

/** `GET /v1/policy/freshness`. */
export const freshnessAnswer = z.object({ version: z.int(), freshness: z.string() })
export type FreshnessAnswer = z.output<typeof freshnessAnswer>

/** The ETag of a policy version, as `if-none-match` repeats it. */
export const policyEtag = (version: number): string => `"${version}"`
