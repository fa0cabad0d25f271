/** Method `token` against the contract of all methods, with its secret broken in one way each. */
import { newTokenSecret, tokenSecretHash } from '../../../core/domain/token-secret.ts'
import { systemRandom } from '../../../core/random.ts'
import { joinMethodContract } from './method.ts'

joinMethodContract({
  name: 'token',
  setup() {
    const secret = newTokenSecret(systemRandom)
    return {
      token: tokenSecretHash(secret),
      evidence: { secret },
      broken: {
        'a secret of another token': { secret: newTokenSecret(systemRandom) },
        'a secret cut short': { secret: secret.slice(0, -1) },
        'a secret with one more character': { secret: `${secret}A` },
        'a secret in another case': { secret: secret.toUpperCase() },
        'a secret with a space': { secret: `${secret} ` },
        'a secret with a line end': { secret: `${secret}\n` },
        'a secret without its prefix': { secret: secret.slice('pst_join_'.length) },
        'a secret with the prefix of a key': { secret: secret.replace('pst_join_', 'pst_key_') },
        'the hash instead of the secret': { secret: tokenSecretHash(secret) },
        'a number': { secret: 1 },
        'a list of secrets': { secret: [secret] },
      },
    }
  },
})
