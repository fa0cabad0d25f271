/** Key sets for verifiers that do not know Postern (SPIFFE Trust Domain and Bundle; RFC 7517; OpenID Connect Discovery 1.0). */
import * as z from 'zod'

const jwk = z.object({
  kty: z.string(),
  crv: z.string().optional(),
  x: z.string().optional(),
  y: z.string().optional(),
  kid: z.string().optional(),
  alg: z.string().optional(),
})

/** `GET /v1/spiffe/bundle`. */
export const spiffeBundle = z.object({
  spiffe_sequence: z.int().nonnegative(),
  /** Seconds. */
  spiffe_refresh_hint: z.int().positive(),
  keys: z.array(
    jwk.extend({
      use: z.enum(['x509-svid', 'jwt-svid']),
      /** Of an `x509-svid` key: the CA certificate, base64 DER. */
      x5c: z.array(z.string()).length(1).optional(),
    }),
  ),
})
export type SpiffeBundle = z.output<typeof spiffeBundle>

/** `GET /.well-known/jwks.json`. */
export const jsonWebKeySet = z.object({ keys: z.array(jwk.extend({ use: z.literal('sig') })) })
export type JsonWebKeySet = z.output<typeof jsonWebKeySet>

/** `GET /.well-known/openid-configuration`. */
export const openidConfiguration = z.object({
  issuer: z.url(),
  jwks_uri: z.url(),
  response_types_supported: z.array(z.string()),
  subject_types_supported: z.array(z.string()),
  id_token_signing_alg_values_supported: z.array(z.string()),
})
export type OpenidConfiguration = z.output<typeof openidConfiguration>
