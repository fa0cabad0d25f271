/**
 * The certificate of a CA whose key this verb alone may use, self-signed, for the bootstrap of a new cluster: so no function but its
 * own ever signs with a CA key, not even once.
 */
import type { CaCertificateAnswer } from '../../core/api/bootstrap.ts'
import type { Signer } from '../../core/certs/signer.ts'
import { createCaCertificate } from '../../core/certs/x509.ts'
import { toPem } from '../../core/certs/x509-read.ts'
import { plus, type Clock } from '../../core/clock.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Random } from '../../core/random.ts'
import type { VerbApp } from '../http.ts'
import { deployerOf } from '../middleware/deployer.ts'

export interface CaCertificateDeps {
  readonly clock: Clock
  readonly random: Random
  readonly ca: { readonly path: string; readonly commonName: string; readonly signer: Signer }
}

export function caCertificateRoutes(app: VerbApp, deps: CaCertificateDeps): void {
  const { ca, clock, random } = deps
  app.post(ca.path, async (c) => {
    deployerOf(c)
    const now = clock.now()
    const der = await createCaCertificate(
      {
        name: ca.commonName,
        signer: ca.signer,
        notBefore: plus(now, -LIMITS.certBackdate.value),
        notAfter: plus(now, LIMITS.caCertTtl.value),
      },
      random,
    )
    const answer: CaCertificateAnswer = { certificate: toPem(der) }
    return c.json(answer)
  })
}
