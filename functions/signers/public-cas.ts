/** The public halves of the CAs, in every form that somebody needs: PEM, SSH lines, JWKs, parsed certificates, pins. */
import type { KeyObject } from 'node:crypto'
import { authorizedKey, publicKeyBlob } from '../../core/certs/ssh-key.ts'
import { caPin, thumbprint, type Signer } from '../../core/certs/signer.ts'
import { readCertificate, toPem, type Certificate } from '../../core/certs/x509-read.ts'
import type { CaBundle, JsonWebKeyLike } from '../../core/domain/policy.ts'
import type { PublicCas } from '../deps.ts'

/** For verifiers of JWS: the id is the key's thumbprint. */
export function publicJwk(key: KeyObject): JsonWebKeyLike {
  const { kty, crv, x, y } = key.export({ format: 'jwk' })
  return {
    kty: kty ?? '',
    ...(crv === undefined ? {} : { crv }),
    ...(x === undefined ? {} : { x }),
    ...(y === undefined ? {} : { y }),
    kid: thumbprint(key),
    alg: 'ES256',
  }
}

const side = (certificate: Certificate): { x509: string[]; ssh: string[] } => ({
  x509: [toPem(certificate.raw)],
  ssh: [authorizedKey(publicKeyBlob(certificate.publicKey))],
})

export const bundleOf = (
  host: Certificate,
  user: Certificate,
  policy: Pick<Signer, 'publicKey'>,
): CaBundle => ({ host: side(host), user: side(user), policy: [publicJwk(policy.publicKey)] })

/** From the bundle as the cluster's row keeps it. */
export function publicCas(bundle: CaBundle): PublicCas {
  const host = bundle.host.x509.map((pem) => readCertificate(pem))
  return {
    bundle,
    host,
    user: bundle.user.x509.map((pem) => readCertificate(pem)),
    pins: host.map((certificate) => caPin(certificate.publicKey)),
  }
}
