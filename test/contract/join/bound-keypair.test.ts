/** Method `bound_keypair` against the contract of all methods. Registration, recovery and copies are in test/api/join-bound-keypair. */
import { CONTEXT, prove, type ProofContext } from '../../../core/certs/proof.ts'
import { generateKey, keySigner, thumbprint } from '../../../core/certs/signer.ts'
import type { JoinToken } from '../../../core/domain/token.ts'
import { boundKeypairRules } from '../../../core/join/bound-keypair-rule.ts'
import { encodeKey } from '../../../core/join/messages.ts'
import { systemRandom } from '../../../core/random.ts'
import { createSealer } from '../../../core/seal.ts'
import { joinMethodContract, SEALED } from './method.ts'

const machine = generateKey('EdDSA')
const other = generateKey('EdDSA')
async function signature(
  by = machine,
  challenge = SEALED,
  context: ProofContext = CONTEXT.boundKeypair,
): Promise<string> {
  const signed = await prove(context, keySigner(by.privateKey), Buffer.from(challenge, 'ascii'))
  return signed.toString('base64url')
}
const public_key = encodeKey(machine.publicKey)
const signed = await signature()
const broken = {
  'another machine': {
    public_key: encodeKey(other.publicKey),
    signature: await signature(other),
  },
  'a signature by another key': { public_key, signature: await signature(other) },
  'a signature of another challenge': { public_key, signature: await signature(machine, 'other') },
  'a signature for another purpose': {
    public_key,
    signature: await signature(machine, SEALED, CONTEXT.join),
  },
  'a signature cut short': { public_key, signature: signed.slice(0, -4) },
  'no signature': { public_key },
}
const rules = boundKeypairRules({ onboarding: { initial_public_key: public_key } })

joinMethodContract({
  name: 'bound_keypair',
  setup: () => ({
    token: 'machine',
    joinToken: { name: 'machine', boundKeypair: rules } as unknown as JoinToken,
    deps: {
      boundKeypairs: {
        get: async () => ({ key: thumbprint(machine.publicKey), locked: false, services: {} }),
      },
      challengeSealer: createSealer(systemRandom.bytes(32)),
    },
    evidence: { public_key, signature: signed },
    broken,
  }),
})
