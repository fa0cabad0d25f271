/** Join method `token`: the secret itself is the evidence. A bearer method: TLS to a pinned CA is what protects it on its way. */
import * as z from 'zod'
import { AppError } from '../errors.ts'
import { isTokenSecret, tokenSecretHash } from '../domain/token-secret.ts'
import type { JoinMethod } from './join-method.ts'

const evidence = z.strictObject({ secret: z.string().max(128) })
export type TokenEvidence = z.output<typeof evidence>

export const tokenMethod: JoinMethod<TokenEvidence> = {
  name: 'token',
  strength: 'bearer',
  tokenBy: 'secret',
  evidence,
  async verify({ secret }, { challenge }) {
    if (!isTokenSecret(secret))
      throw new AppError('ERR_JOIN_REFUSED', undefined, { internal: 'not a token secret' })
    const hash = tokenSecretHash(secret)
    // The challenge was made for one token; showing another is a mix of two joins.
    if (hash !== challenge.token)
      throw new AppError('ERR_JOIN_REFUSED', undefined, {
        internal: 'the secret is not the one that the challenge was made for',
      })
    return { subject: `token:${hash.slice(0, 8)}`, attributes: {}, token: { by: 'secret', hash } }
  },
}
