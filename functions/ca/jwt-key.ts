/**
 * The key that JWTs of this cluster are signed with, in KMS: made the first time that somebody asks for it, once. Its public half is
 * what `/.well-known/jwks.json` answers.
 */
import { caPin } from '../../core/certs/signer.ts'
import type { Clock } from '../../core/clock.ts'
import type { Log } from '../../core/log.ts'
import { publicJwk } from '../signers/public-cas.ts'
import type { CaStore, JwtKey } from '../store/ca-store.ts'
import type { CaKeyMaker } from './keyring.ts'

export interface JwtKeyDeps {
  readonly keyring: Pick<CaKeyMaker, 'create' | 'retire'>
  readonly stores: { readonly cas: Pick<CaStore, 'jwtKey' | 'initJwtKey'> }
  readonly clock: Clock
  readonly log: Log
}

/** Of racing callers one key stays; what the others made is given up again. */
export async function ensureJwtKey({ keyring, stores, clock, log }: JwtKeyDeps): Promise<JwtKey> {
  const known = await stores.cas.jwtKey()
  if (known) return known
  const { ref, signer } = await keyring.create('jwt')
  const mine: JwtKey = { ref, created: clock.now(), jwk: publicJwk(signer.publicKey) }
  const kept = await stores.cas.initJwtKey(mine)
  if (kept.ref === ref) log.info('jwt.key_made', { pin: caPin(signer.publicKey) })
  else await keyring.retire('jwt', { ref })
  return kept
}
