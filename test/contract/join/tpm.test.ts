/** Method `tpm` against the contract of all methods. The long corpus is in test/api/join-tpm. */
import type { JoinToken } from '../../../core/domain/token.ts'
import { tpmMethod, type TpmQuestion } from '../../../core/join/tpm/method.ts'
import { systemRandom } from '../../../core/random.ts'
import { softwareTpm } from '../../support/software-tpm.ts'
import { joinMethodContract } from './method.ts'

joinMethodContract({
  name: 'tpm',
  setup(sealed, keys) {
    const tpm = softwareTpm()
    const deps = { random: systemRandom }
    const opened = tpmMethod(deps).open?.(tpm.opening())
    if (!opened) throw new Error('no opening')
    const question = opened.question as TpmQuestion
    const evidence = tpm.evidence(sealed, question, keys)
    const other = softwareTpm()
    const block = { allow: [{ ek_public_hash: tpm.hash }] }
    return {
      token: 'fleet',
      joinToken: { name: 'fleet', methodSpec: { tpm: block } } as unknown as JoinToken,
      deps,
      kept: opened.kept,
      evidence,
      broken: {
        'a secret that nobody activated': { ...evidence, secret: 'A'.repeat(43) },
        'the endorsement key of another TPM': { ...evidence, ek_public: other.opening().ek_public },
        'the attestation key of another TPM': { ...evidence, ak_public: other.opening().ak_public },
        'an attestation for another challenge': tpm.evidence('another', question, keys),
        'no signature': { ...evidence, signature: undefined },
        'an attestation cut short': { ...evidence, attest: evidence.attest.slice(0, -4) },
      },
    }
  },
})
