/** The public half of a new CA key, as the table keeps it: a self-signed certificate, or a JWK for the policy key. */
import { caPin, type Signer } from '../../core/certs/signer.ts'
import { toPem } from '../../core/certs/x509-read.ts'
import { createCaCertificate } from '../../core/certs/x509.ts'
import { plus, seconds, fromSeconds, type Clock, type Instant } from '../../core/clock.ts'
import type { CaKey, CaKind } from '../../core/domain/ca.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Random } from '../../core/random.ts'
import { publicJwk } from '../signers/public-cas.ts'

const NAME = {
  host: 'Postern host CA',
  user: 'Postern user CA',
  db_client: 'Postern database client CA',
} as const

/** PEM of a CA certificate that the key signs for itself, from `now` on. */
export async function selfCertified(
  kind: keyof typeof NAME,
  signer: Signer,
  now: Instant,
  random: Random,
): Promise<string> {
  const der = await createCaCertificate(
    {
      name: NAME[kind],
      signer,
      notBefore: plus(now, -LIMITS.certBackdate.value),
      notAfter: plus(now, LIMITS.caCertTtl.value),
    },
    random,
  )
  return toPem(der)
}

export async function caKeyOf(
  kind: CaKind,
  made: { readonly ref: string; readonly signer: Signer },
  deps: { readonly clock: Clock; readonly random: Random },
): Promise<CaKey> {
  const { ref, signer } = made
  const now = fromSeconds(seconds(deps.clock.now()))
  const base = { ref, pin: caPin(signer.publicKey), created: now }
  if (kind === 'policy')
    return { ...base, certificate: undefined, jwk: publicJwk(signer.publicKey) }
  const certificate = await selfCertified(kind, signer, now, deps.random)
  return { ...base, certificate, jwk: undefined }
}
