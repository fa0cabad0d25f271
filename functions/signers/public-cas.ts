/** The public halves of the CAs, in every form that somebody needs: PEM, SSH lines, JWKs, parsed certificates, pins. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { authorizedKey, publicKeyBlob } from '../../core/certs/ssh-key.ts'
import { caPin, keyAlgorithm, thumbprint } from '../../core/certs/signer.ts'
import { readCertificate, toPem, type Certificate } from '../../core/certs/x509-read.ts'
import { trustedKeys, type CaKey, type CaKind, type CaState } from '../../core/domain/ca.ts'
import type { CaBundle, JsonWebKeyLike } from '../../core/domain/policy.ts'
import { AppError, invariant } from '../../core/errors.ts'
import { fromSeconds, type Instant } from '../../core/clock.ts'
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
    alg: keyAlgorithm(key),
  }
}

function sideOf(certificates: readonly Certificate[]): { x509: string[]; ssh: string[] } {
  return {
    x509: certificates.map((certificate) => toPem(certificate.raw)),
    ssh: certificates.map(({ publicKey }) => authorizedKey(publicKeyBlob(publicKey))),
  }
}

/** The bundle that a deployment begins with. */
export const bundleOf = (
  host: Certificate,
  user: Certificate,
  policy: { readonly publicKey: KeyObject },
): CaBundle => ({
  host: sideOf([host]),
  user: sideOf([user]),
  policy: [publicJwk(policy.publicKey)],
})

function keysOf(states: readonly CaState[], kind: CaKind): CaKey[] {
  const state = states.find((one) => one.kind === kind)
  invariant(state, `the state of the ${kind} CA is known`)
  return trustedKeys(state)
}

const certificatesOf = (keys: readonly CaKey[]): Certificate[] =>
  keys.map((key) => readCertificate(key.certificate ?? ''))

export function publicCas(states: readonly CaState[]): PublicCas {
  const host = keysOf(states, 'host')
  const bundle: CaBundle = {
    host: sideOf(certificatesOf(host)),
    user: sideOf(certificatesOf(keysOf(states, 'user'))),
    policy: keysOf(states, 'policy').flatMap((key) => (key.jwk ? [key.jwk] : [])),
  }
  return {
    bundle,
    version: states.reduce((sum, state) => sum + state.version, 0),
    host: bundle.host.x509.map((pem) => readCertificate(pem)),
    user: bundle.user.x509.map((pem) => readCertificate(pem)),
    pins: host.map((key) => key.pin),
    retired: states.find((state) => state.kind === 'host')?.retired ?? [],
  }
}

const first = (list: readonly string[]): string => {
  const [one] = list
  if (one !== undefined) return one
  throw new AppError('ERR_CONFIG_INVALID', 'the cluster has no CA certificate yet')
}

/** The keys that a deployment was made with, from the bundle in the cluster's row. */
export function initialKeys(
  bundle: CaBundle,
  created: Instant = fromSeconds(0),
): Record<CaKind, CaKey> {
  const ofCertificate = (pem: string): CaKey => ({
    ref: '',
    pin: caPin(readCertificate(pem).publicKey),
    created,
    certificate: pem,
    jwk: undefined,
  })
  const [jwk] = bundle.policy
  if (!jwk) throw new AppError('ERR_CONFIG_INVALID', 'the cluster has no policy key yet')
  return {
    host: ofCertificate(first(bundle.host.x509)),
    user: ofCertificate(first(bundle.user.x509)),
    policy: {
      ref: '',
      pin: caPin(createPublicKey({ key: { ...jwk }, format: 'jwk' })),
      created,
      certificate: undefined,
      jwk,
    },
  }
}
