/**
 * The CA of database clients, in KMS: made the first time that somebody asks for its certificate, once. A key costs a dollar a month, and
 * a cluster without databases needs none.
 */
import { caPin } from '../../core/certs/signer.ts'
import { fromSeconds, seconds, type Clock } from '../../core/clock.ts'
import type { Log } from '../../core/log.ts'
import type { Random } from '../../core/random.ts'
import type { CaStore, DbClientCa } from '../store/ca-store.ts'
import type { CaKeyMaker } from './keyring.ts'
import { selfCertified } from './new-key.ts'

export interface DbClientCaDeps {
  readonly keyring: Pick<CaKeyMaker, 'create' | 'retire'>
  readonly stores: { readonly cas: Pick<CaStore, 'dbClientCa' | 'initDbClientCa'> }
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** Of racing callers one key stays; what the others made is given up again. */
export async function ensureDbClientCa(deps: DbClientCaDeps): Promise<DbClientCa> {
  const { keyring, stores, clock, random, log } = deps
  const known = await stores.cas.dbClientCa()
  if (known) return known
  const { ref, signer } = await keyring.create('db_client')
  const now = fromSeconds(seconds(clock.now()))
  const certificate = await selfCertified('db_client', signer, now, random)
  const kept = await stores.cas.initDbClientCa({ ref, created: now, certificate })
  if (kept.ref === ref) log.info('db_client.key_made', { pin: caPin(signer.publicKey) })
  else await keyring.retire('db_client', { ref })
  return kept
}
