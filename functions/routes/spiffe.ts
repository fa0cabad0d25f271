/**
 * What others need to verify identities of this cluster without Postern: the SPIFFE trust bundle, the key set of its JWTs, and the
 * discovery document that leads OIDC relying parties (AWS IAM among them) to it. Public, as every CA certificate is.
 */
import type { JsonWebKeySet, OpenidConfiguration, SpiffeBundle } from '../../core/api/spiffe.ts'
import type { Certificate } from '../../core/certs/x509-read.ts'
import { LIMITS } from '../../core/limits.ts'
import type { SpiffeDeps } from '../deps.ts'
import type { VerbApp } from '../http.ts'

const JWKS_PATH = '/.well-known/jwks.json'

/** SPIFFE Trust Domain and Bundle, section 4: the CA's key as a JWK with its certificate, and no other, in x5c. */
const x509Key = ({ publicKey, raw }: Certificate): SpiffeBundle['keys'][number] => {
  const { kty = '', crv, x, y } = publicKey.export({ format: 'jwk' })
  return {
    use: 'x509-svid',
    kty,
    ...(crv === undefined ? {} : { crv }),
    ...(x === undefined ? {} : { x }),
    ...(y === undefined ? {} : { y }),
    x5c: [raw.toString('base64')],
  }
}

export function spiffeRoutes(app: VerbApp, deps: SpiffeDeps): void {
  const { cas, jwtKeys, origins } = deps

  // Users' certificates are no SVIDs (their names may be mail addresses), so the user CA is not among the keys.
  app.get('/v1/spiffe/bundle', async (c) => {
    const { host, version } = cas.now
    const jwts = await jwtKeys()
    const bundle: SpiffeBundle = {
      // Counts the changes of CAs, so it never goes back.
      spiffe_sequence: version,
      spiffe_refresh_hint: LIMITS.spiffeRefresh.value / 1000,
      keys: [...host.map(x509Key), ...jwts.map((key) => ({ ...key, use: 'jwt-svid' as const }))],
    }
    return c.json(bundle)
  })

  app.get(JWKS_PATH, async (c) => {
    const set: JsonWebKeySet = {
      keys: (await jwtKeys()).map((key) => ({ ...key, use: 'sig' as const })),
    }
    return c.json(set)
  })

  app.get('/.well-known/openid-configuration', (c) => {
    const issuer = origins()[0] ?? new URL(c.req.url).origin
    const document: OpenidConfiguration = {
      issuer,
      jwks_uri: `${issuer}${JWKS_PATH}`,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256'],
    }
    return c.json(document)
  })
}
