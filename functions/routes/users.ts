/** `/v1/users`: who may sign in, with which roles and traits. A password goes in and never comes out. */
import { badField } from '../../core/errors.ts'
import { userResource, type User } from '../../core/domain/user.ts'
import { audit } from '../audit.ts'
import type { ApiDeps } from '../deps.ts'
import { userDocumentOf } from '../documents.ts'
import { body, notFound, query, type VerbApp } from '../http.ts'
import { actorOf } from '../middleware/callers.ts'
import { requireRight, requireRightOn } from '../middleware/rights.ts'
import { resourceQuery } from '../queries.ts'
import { pageOfAll } from './small-list.ts'

async function requireRolesExist(deps: ApiDeps, roles: readonly string[]): Promise<void> {
  const found = await Promise.all(roles.map((name) => deps.stores.roles.get(name)))
  const missing = found.indexOf(undefined)
  if (missing >= 0)
    throw badField(`spec.roles.${missing}`, `there is no role ${roles[missing]}; create it first`)
}

export function userRoutes(app: VerbApp, deps: ApiDeps): void {
  const { clock, passwords, stores } = deps

  app.get('/v1/users', async (c) => {
    await requireRight(deps, c, 'user', 'list')
    const filter = query(c, resourceQuery)
    return c.json(pageOfAll(await stores.users.list(), filter, userDocumentOf))
  })

  app.get('/v1/users/:name', async (c) => {
    await requireRightOn(deps, c, 'user', 'read')
    const user = await stores.users.get(c.req.param('name'))
    if (!user) throw notFound()
    return c.json(userDocumentOf(user))
  })

  app.put('/v1/users/:name', async (c) => {
    const caller = await requireRightOn(deps, c, 'user', 'update')
    const { metadata, spec } = body(c, userResource)
    if (metadata.name !== c.req.param('name'))
      throw badField('metadata.name', 'is not the name in the path')
    await requireRolesExist(deps, spec.roles)
    // Hashed first, so that a password that is refused leaves the user as it was.
    const hash =
      spec.password === undefined ? undefined : await passwords.hash(spec.password, 'spec.password')
    const wanted: User = {
      name: metadata.name,
      roles: spec.roles,
      traits: spec.traits ?? {},
      created: clock.now(),
    }
    const outcome = await stores.users.put(wanted)
    if (hash !== undefined) await stores.users.setPasswordHash(wanted.name, hash)
    if (outcome !== 'unchanged' || hash !== undefined)
      await audit(deps, c, {
        type: 'user.put',
        actor: actorOf(caller),
        resource: `user/${wanted.name}`,
        fields: { outcome, roles: [...wanted.roles], password_set: hash !== undefined },
      })
    const stored = (await stores.users.get(wanted.name)) ?? wanted
    return c.json(userDocumentOf(stored), outcome === 'created' ? 201 : 200)
  })

  app.delete('/v1/users/:name', async (c) => {
    const caller = await requireRightOn(deps, c, 'user', 'delete')
    const name = c.req.param('name')
    if (!(await stores.users.remove(name))) throw notFound()
    await audit(deps, c, {
      type: 'user.delete',
      actor: actorOf(caller),
      resource: `user/${name}`,
    })
    return c.body(null, 204)
  })
}
