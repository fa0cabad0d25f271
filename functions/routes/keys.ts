/** `/v1/keys`: API keys. The secret is in the answer to the creation and nowhere else. */
import { beyond } from '../../core/access/permits.ts'
import type { KeyCreated } from '../../core/api/documents.ts'
import { fromSeconds, iso, plus, seconds, type Instant } from '../../core/clock.ts'
import {
  apiKeyHash,
  keyRequest,
  newKeySecret,
  type ApiKey,
  type KeyRequest,
} from '../../core/domain/api-key.ts'
import { AppError, badField } from '../../core/errors.ts'
import { newId, parseId, type KeyId } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'
import { audit } from '../audit.ts'
import type { ApiDeps } from '../deps.ts'
import { keyDocumentOf, rulesOf } from '../documents.ts'
import { body, notFound, query, type Ctx, type VerbApp } from '../http.ts'
import { actorOf, type Caller } from '../middleware/callers.ts'
import { may, requireRight, requireRightOn } from '../middleware/rights.ts'
import { pageQuery } from '../queries.ts'

/** Whose key it will be. Keys in the name of another take the right to change that user. */
async function ownerOf(deps: ApiDeps, caller: Caller, asked: KeyRequest): Promise<string> {
  const self =
    caller.kind === 'user'
      ? caller.identity.user
      : caller.kind === 'operator'
        ? caller.key.owner
        : undefined
  // What an id token makes would be the stored secret that it is there to do without.
  if (self === undefined) throw new AppError('ERR_FORBIDDEN', 'an id token makes no API keys')
  const owner = asked.owner ?? self
  if (owner === self) return owner
  if (!may(caller, 'user', 'update'))
    throw new AppError('ERR_FORBIDDEN', 'owner: you may make keys of your own only')
  if (!(await deps.stores.users.get(owner))) throw badField('owner', `there is no user ${owner}`)
  return owner
}

/** A key never outlives the key that made it, or a short one could be turned into a long one. */
function expiryOf(asked: KeyRequest, caller: Caller, now: Instant): Instant {
  if (asked.ttl !== undefined && asked.ttl < 1000) throw badField('ttl', 'at least a second')
  if (asked.ttl !== undefined && asked.ttl > LIMITS.apiKeyTtlMax.value)
    throw badField('ttl', `at most ${LIMITS.apiKeyTtlMax.value / 86_400_000} days`)
  const end = caller.kind === 'operator' ? caller.key.expires : undefined
  // Whole seconds, as the table keeps them.
  const wanted = fromSeconds(seconds(plus(now, asked.ttl ?? LIMITS.apiKeyTtlDefault.value)))
  if (end === undefined || wanted <= end) return wanted
  if (asked.ttl === undefined) return end
  throw badField('ttl', `ends after the key that you use, which expires at ${iso(end)}`)
}

export function keyRoutes(app: VerbApp, deps: ApiDeps): void {
  const { clock, random, stores } = deps

  const idOf = (c: Ctx): KeyId => {
    const id = parseId('key', c.req.param('id') ?? '')
    if (!id) throw notFound()
    return id
  }

  app.post('/v1/keys', async (c) => {
    const caller = await requireRight(deps, c, 'key', 'create')
    const asked = body(c, keyRequest)
    const more = beyond(asked.scopes, (kind, verb) => may(caller, kind, verb))
    if (more !== undefined) {
      await audit(deps, c, {
        type: 'operator.refused',
        outcome: 'refused',
        actor: actorOf(caller),
        reason: `asked for a key that may ${more}, which it may not itself`,
      })
      throw new AppError('ERR_FORBIDDEN', `scopes: ${more} is more than you may do yourself`)
    }
    const now = clock.now()
    const key: ApiKey = {
      id: newId('key', now, random),
      name: asked.name,
      owner: await ownerOf(deps, caller, asked),
      scopes: asked.scopes,
      created: now,
      expires: expiryOf(asked, caller, now),
    }
    const expires = iso(key.expires ?? now)
    const secret = newKeySecret(random)
    await stores.apiKeys.create(key, apiKeyHash(secret))
    await audit(deps, c, {
      type: 'key.create',
      actor: actorOf(caller),
      resource: `key/${key.id}`,
      fields: {
        name: key.name,
        for: key.owner,
        scopes: key.scopes.map((s) => `${s.resources.join()}:${s.verbs.join()}`),
        expires,
      },
    })
    const { id, name, owner } = key
    const created: KeyCreated = { id, name, secret, owner, scopes: rulesOf(key.scopes), expires }
    return c.json(created, 201, { location: `/v1/keys/${id}` })
  })

  app.get('/v1/keys', async (c) => {
    await requireRight(deps, c, 'key', 'list')
    const page = await stores.apiKeys.list(query(c, pageQuery), clock.now())
    const items = page.items.map(keyDocumentOf)
    return c.json({ items, ...(page.cursor === undefined ? {} : { cursor: page.cursor }) })
  })

  app.get('/v1/keys/:id', async (c) => {
    await requireRightOn(deps, c, 'key', 'read')
    const key = await stores.apiKeys.get(idOf(c), clock.now())
    if (!key) throw notFound()
    return c.json(keyDocumentOf(key))
  })

  app.delete('/v1/keys/:id', async (c) => {
    const caller = await requireRightOn(deps, c, 'key', 'delete')
    const key = await stores.apiKeys.revoke(idOf(c))
    if (!key) throw notFound()
    await audit(deps, c, {
      type: 'key.delete',
      actor: actorOf(caller),
      resource: `key/${key.id}`,
      fields: { name: key.name, for: key.owner },
    })
    return c.body(null, 204)
  })
}
