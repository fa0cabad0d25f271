/** `/v1/locks`: taking access away at once. A lock is made and removed, never edited: an edit would be a moment without it. */
import { iso, instant, plus, type Instant } from '../../core/clock.ts'
import { AppError, badField } from '../../core/errors.ts'
import { newId, parseId, type LockId } from '../../core/ids.ts'
import { lockResource, lockTarget, type Lock } from '../../core/domain/lock.ts'
import { parse } from '../../core/parse.ts'
import type * as z from 'zod'
import { audit } from '../audit.ts'
import type { ApiDeps } from '../deps.ts'
import { lockDocumentOf, lockTargetName } from '../documents.ts'
import { jsonBody, notFound, query, type Ctx, type VerbApp } from '../http.ts'
import { actorOf, type Caller } from '../middleware/callers.ts'
import { requireRight, requireRightOn } from '../middleware/rights.ts'
import { pageQuery } from '../queries.ts'
import { pageOfAll } from './small-list.ts'

type LockFile = z.output<typeof lockResource>
/** The short form of a lock is the spec of its file. */
export const lockShort = lockResource.shape.spec

function readLock(input: unknown): LockFile {
  const whole = typeof input === 'object' && input !== null && ('kind' in input || 'spec' in input)
  return whole
    ? parse(lockResource, input)
    : { kind: 'lock', version: 'v2', spec: parse(lockShort, input) }
}

function expiryOf({ spec }: LockFile, now: Instant): Instant | undefined {
  if (spec.ttl !== undefined && spec.expires !== undefined)
    throw badField('spec.ttl', 'give ttl or expires, not both')
  const at =
    spec.ttl !== undefined
      ? plus(now, spec.ttl)
      : spec.expires === undefined
        ? undefined
        : instant(Date.parse(spec.expires))
  if (at !== undefined && at <= now)
    throw badField(spec.ttl === undefined ? 'spec.expires' : 'spec.ttl', 'lies in the past')
  return at
}

const sameLock = (a: Lock, b: Lock): boolean =>
  lockTargetName(a.target) === lockTargetName(b.target) &&
  a.message === b.message &&
  a.expires === b.expires

export function lockRoutes(app: VerbApp, deps: ApiDeps): void {
  const { clock, random, stores } = deps

  async function create(c: Ctx, caller: Caller, lock: Lock): Promise<Response> {
    await stores.locks.create(lock)
    await audit(deps, c, {
      type: 'lock.create',
      actor: actorOf(caller),
      resource: lockTargetName(lock.target),
      fields: { lock: lock.id, expires: lock.expires === undefined ? null : iso(lock.expires) },
    })
    return c.json(lockDocumentOf(lock), 201, { location: `/v1/locks/${lock.id}` })
  }

  const lockOf = (file: LockFile, id: LockId, caller: Caller): Lock => ({
    id,
    target: lockTarget(file.spec.target),
    message: file.spec.message,
    created: clock.now(),
    createdBy: actorOf(caller),
    expires: expiryOf(file, clock.now()),
  })

  const idOf = (c: Ctx): LockId => {
    const id = parseId('lock', c.req.param('name') ?? '')
    if (!id) throw notFound()
    return id
  }

  app.post('/v1/locks', async (c) => {
    const caller = await requireRight(deps, c, 'lock', 'create')
    const file = readLock(jsonBody(c))
    if (file.metadata?.name !== undefined)
      throw badField('metadata.name', 'is made by the server; leave it out')
    return create(c, caller, lockOf(file, newId('lock', clock.now(), random), caller))
  })

  app.get('/v1/locks', async (c) => {
    await requireRight(deps, c, 'lock', 'list')
    const filter = query(c, pageQuery)
    const locks = await stores.locks.list(clock.now())
    const named = locks.map((lock) => ({ name: lock.id, lock }))
    return c.json(pageOfAll(named, filter, ({ lock }) => lockDocumentOf(lock)))
  })

  app.get('/v1/locks/:name', async (c) => {
    await requireRightOn(deps, c, 'lock', 'read')
    const lock = await stores.locks.get(idOf(c), clock.now())
    if (!lock) throw notFound()
    return c.json(lockDocumentOf(lock))
  })

  app.put('/v1/locks/:name', async (c) => {
    const caller = await requireRightOn(deps, c, 'lock', 'update')
    const id = idOf(c)
    const file = readLock(jsonBody(c))
    if (file.metadata?.name !== undefined && file.metadata.name !== id)
      throw badField('metadata.name', 'is not the name in the path')
    const wanted = lockOf(file, id, caller)
    const known = await stores.locks.get(id, clock.now())
    if (!known) return create(c, caller, wanted)
    if (!sameLock(known, wanted))
      throw new AppError('ERR_CONFLICT', 'a lock is not edited: make a new one, then remove this')
    return c.json(lockDocumentOf(known))
  })

  app.delete('/v1/locks/:name', async (c) => {
    const caller = await requireRightOn(deps, c, 'lock', 'delete')
    const id = idOf(c)
    const lock = await stores.locks.get(id, clock.now())
    if (!lock || !(await stores.locks.remove(id))) throw notFound()
    await audit(deps, c, {
      type: 'lock.delete',
      actor: actorOf(caller),
      resource: lockTargetName(lock.target),
      fields: { lock: id },
    })
    return c.body(null, 204)
  })
}
