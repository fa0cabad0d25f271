/**
 * Keys of issuers over HTTPS: discovered, remembered, read again for a key id that nobody knows, and kept for a day while their
 * issuer is down. At most one read of an issuer at a time, and inside the cooldown none, whatever arrives: an id token that
 * nobody has verified must not be a way to make us call others.
 */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import { plus, type Clock, type Instant } from '../../core/clock.ts'
import { reasonOf, toAppError, type AppError } from '../../core/errors.ts'
import {
  parseJwks,
  type Issuer,
  type IssuerKey,
  type IssuerKeys,
} from '../../core/join/oidc/jwks.ts'
import { refuse } from '../../core/join/oidc/verify.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Log } from '../../core/log.ts'
import { parse } from '../../core/parse.ts'
import { parseJson } from '../../core/strict-json.ts'
import type { StsAddress } from './sts.ts'
import { fetchFromIssuer, type FetchOptions } from './issuer-fetch.ts'

/** How issuers are reached, where it differs from the public internet. */
export interface IssuerAccess {
  /** PEM of the CA to trust for issuers that name none themselves. */
  readonly ca?: string
  /** Issuers may have private addresses. Default: refused. */
  readonly allowPrivate?: boolean
  /** For tests: where a server of this name listens instead. */
  readonly at?: (host: string) => StsAddress | undefined
}

const discovery = z.looseObject({
  issuer: z.string().max(512),
  jwks_uri: z.string().max(2048),
})

interface Known {
  keys: readonly IssuerKey[]
  read: Instant
  /** When an unknown kid or a failure may cause the next read. */
  notBefore: Instant
}

/** The keys, from the place that the issuer's own discovery document names. */
async function read(issuer: Issuer, options: FetchOptions): Promise<readonly IssuerKey[]> {
  const usable = <T>(what: string, work: () => T): T => {
    try {
      return work()
    } catch (cause) {
      throw refuse(`issuer ${issuer.url}: ${what}: ${reasonOf(cause)}`, cause)
    }
  }
  if (issuer.jwksUri !== undefined) {
    const bytes = await fetchFromIssuer(issuer.jwksUri, options)
    return usable('key set', () => parseJwks(bytes))
  }
  const where = `${issuer.url.replace(/\/$/, '')}/.well-known/openid-configuration`
  const bytes = await fetchFromIssuer(where, options)
  const found = usable('discovery document', () => parse(discovery, parseJson(bytes)))
  // OpenID Connect Discovery 1.0 section 4.3: exactly, or somebody answers for somebody else.
  if (found.issuer !== issuer.url)
    throw refuse(`issuer ${issuer.url}: its discovery document names ${found.issuer}`)
  if (!URL.canParse(found.jwks_uri)) throw refuse(`issuer ${issuer.url}: jwks_uri is no URL`)
  const set = await fetchFromIssuer(found.jwks_uri, options)
  return usable('key set', () => parseJwks(set))
}

const idOf = ({ url, ca }: Issuer): string =>
  ca === undefined ? url : `${url} ${createHash('sha256').update(ca).digest('hex')}`

export function createIssuerKeys(
  deps: { readonly clock: Clock; readonly log: Log } & IssuerAccess,
): IssuerKeys {
  const { clock, log } = deps
  // In order of use: the first is the one unused for longest.
  const known = new Map<string, Known>()
  const reading = new Map<string, Promise<readonly IssuerKey[]>>()
  /** Issuers that failed before anything was known of them, and until when they are left alone. */
  const failed = new Map<string, { readonly error: AppError; readonly until: Instant }>()

  function remember<V>(map: Map<string, V>, id: string, value: V): void {
    map.delete(id)
    map.set(id, value)
    const oldest = map.keys().next()
    if (map.size > LIMITS.jwksIssuers.value && !oldest.done) map.delete(oldest.value)
  }

  function readOnce(id: string, issuer: Issuer): Promise<readonly IssuerKey[]> {
    const running = reading.get(id)
    if (running) return running
    const options = {
      clock,
      ca: issuer.ca ?? deps.ca,
      allowPrivate: deps.allowPrivate ?? false,
      at: deps.at,
    }
    const work = read(issuer, options).finally(() => reading.delete(id))
    reading.set(id, work)
    return work
  }

  async function refresh(id: string, issuer: Issuer, old: Known | undefined): Promise<Known> {
    const next = plus(clock.now(), LIMITS.jwksCooldown.value)
    try {
      const keys = await readOnce(id, issuer)
      const fresh = { keys, read: clock.now(), notBefore: next }
      remember(known, id, fresh)
      failed.delete(id)
      return fresh
    } catch (cause) {
      const error = toAppError(cause)
      log.warn('issuer.keys_failed', {
        issuer: issuer.url,
        reason: error.internal ?? error.message,
      })
      if (old && clock.now() < plus(old.read, LIMITS.jwksStale.value)) {
        // Stale if error: keys are taken back by rotation in hours, outages of issuers last minutes.
        old.notBefore = next
        return old
      }
      known.delete(id)
      remember(failed, id, { error, until: next })
      throw error
    }
  }

  return {
    async of(issuer, kid) {
      const id = idOf(issuer)
      const failure = failed.get(id)
      if (failure && clock.now() < failure.until) throw failure.error
      const have = known.get(id)
      if (have) remember(known, id, have)
      const old = have && clock.now() >= plus(have.read, LIMITS.jwksTtl.value)
      const strange = have && kid !== undefined && !have.keys.some((key) => key.kid === kid)
      if (have && ((!old && !strange) || clock.now() < have.notBefore)) return have.keys
      return (await refresh(id, issuer, have)).keys
    },
  }
}
