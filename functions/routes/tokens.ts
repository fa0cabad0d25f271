/** `/v1/tokens`: minting, listing and revoking join tokens. The secret is in the answer to the mint and nowhere else. */
import type { TokenCreated } from '../../core/api/documents.ts'
import { iso, plus } from '../../core/clock.ts'
import { badField } from '../../core/errors.ts'
import { ulid } from '../../core/ids.ts'
import {
  hasSecret,
  newToken,
  tokenResource,
  TOKEN_SUGGESTIONS,
  tokenShort,
  type JoinToken,
} from '../../core/domain/token.ts'
import { newTokenSecret, tokenSecretHash } from '../../core/domain/token-secret.ts'
import { newRegistrationSecret, registrationHash } from '../../core/join/bound-keypair-rule.ts'
import { inOurWords } from '../../core/join/foreign-files.ts'
import { LIMITS } from '../../core/limits.ts'
import { parse } from '../../core/parse.ts'
import type { Random } from '../../core/random.ts'
import { audit } from '../audit.ts'
import type { ApiDeps } from '../deps.ts'
import { tokenDocumentOf } from '../documents.ts'
import { jsonBody, notFound, query, type VerbApp } from '../http.ts'
import { actorOf } from '../middleware/callers.ts'
import { requireRight, requireRightOn } from '../middleware/rights.ts'
import { resourceQuery } from '../queries.ts'
import { matchesSearch } from './search.ts'

/** Whether a body is a whole resource file or the short form: only the first names its kind. */
const isResource = (input: unknown): boolean =>
  typeof input === 'object' && input !== null && ('kind' in input || 'spec' in input)

function readToken(input: unknown, deps: ApiDeps): JoinToken {
  const made = { name: `tk-${ulid(deps.clock.now(), deps.random)}`, clock: deps.clock }
  const options = { suggest: TOKEN_SUGGESTIONS }
  const full = isResource(input)
  const token = full
    ? newToken({ form: 'resource', value: parse(tokenResource, inOurWords(input), options) }, made)
    : newToken({ form: 'short', value: parse(tokenShort, input, options) }, made)
  const later = token.roles.indexOf('Bot')
  if (later >= 0)
    throw badField(
      `${full ? 'spec.' : ''}roles.${later}`,
      `${token.roles[later]} tokens are not supported in this version; use Node or App`,
    )
  const field = full ? 'metadata.expires' : 'ttl'
  const now = deps.clock.now()
  if (token.expires <= now) throw badField(field, 'lies in the past or is zero')
  // A name without a secret is no key that could be lost: it may be configured for good.
  if (hasSecret(token.method) && token.expires > plus(now, LIMITS.tokenTtlMax.value))
    throw badField(field, `at most ${LIMITS.tokenTtlMax.value / 86_400_000} days from now`)
  return token
}

/** A bound keypair is registered by a secret unless the token names the key: without either, one is made and shown once. */
function withRegistrationSecret(
  token: JoinToken,
  random: Random,
): { readonly token: JoinToken; readonly registrationSecret?: string } {
  const rules = token.boundKeypair
  if (!rules || rules.initialKey !== undefined || rules.secretHash !== undefined) return { token }
  const registrationSecret = newRegistrationSecret(random)
  const secretHash = registrationHash(registrationSecret)
  return { token: { ...token, boundKeypair: { ...rules, secretHash } }, registrationSecret }
}

export function tokenRoutes(app: VerbApp, deps: ApiDeps): void {
  const { clock, random, stores } = deps

  app.post('/v1/tokens', async (c) => {
    const caller = await requireRight(deps, c, 'token', 'create')
    const wanted = readToken(jsonBody(c), deps)
    // Only method `token` has a secret: the names of the others are public, and their evidence is what counts.
    const secret = hasSecret(wanted.method) ? newTokenSecret(random) : undefined
    const { token: complete, registrationSecret } = withRegistrationSecret(wanted, random)
    const hash = secret === undefined ? undefined : tokenSecretHash(secret)
    const token = await stores.tokens.create(complete, hash)
    await audit(deps, c, {
      type: 'token.create',
      actor: actorOf(caller),
      resource: `token/${token.name}`,
      fields: {
        roles: [...token.roles],
        method: token.method,
        expires: iso(token.expires),
        max_uses: token.maxUses ?? null,
      },
    })
    const created: TokenCreated = {
      name: token.name,
      ...(secret === undefined ? {} : { secret }),
      ...(registrationSecret === undefined ? {} : { registration_secret: registrationSecret }),
      expires: iso(token.expires),
      roles: [...token.roles],
      join_method: token.method,
      max_uses: token.maxUses ?? null,
      ca_pins: [...deps.cas.now.pins],
    }
    return c.json(created, 201, { location: `/v1/tokens/${encodeURIComponent(token.name)}` })
  })

  app.get('/v1/tokens', async (c) => {
    await requireRight(deps, c, 'token', 'list')
    const { limit, cursor, labels, search } = query(c, resourceQuery)
    const now = clock.now()
    const page = await stores.tokens.list({ limit, cursor }, now)
    const items = page.items
      .filter((token) => matchesSearch(token, { labels, search }))
      .map((token) => tokenDocumentOf(token, now))
    return c.json({ items, ...(page.cursor === undefined ? {} : { cursor: page.cursor }) })
  })

  app.get('/v1/tokens/:name', async (c) => {
    await requireRightOn(deps, c, 'token', 'read')
    const token = await stores.tokens.byName(c.req.param('name'))
    if (!token) throw notFound()
    return c.json(tokenDocumentOf(token, clock.now()))
  })

  app.delete('/v1/tokens/:name', async (c) => {
    const caller = await requireRightOn(deps, c, 'token', 'delete')
    const token = await stores.tokens.revoke(c.req.param('name'))
    if (!token) throw notFound()
    await audit(deps, c, {
      type: 'token.revoke',
      actor: actorOf(caller),
      resource: `token/${token.name}`,
    })
    return c.body(null, 204)
  })
}
