/** `/v1/roles`: what their holders may reach. Each change bumps the policy version with it, so agents know within seconds. */
import { AppError, badField } from '../../core/errors.ts'
import { roleResource, ROLE_SUGGESTIONS, toRole } from '../../core/domain/role.ts'
import { audit } from '../audit.ts'
import type { ApiDeps } from '../deps.ts'
import { roleDocumentOf } from '../documents.ts'
import { body, notFound, query, type VerbApp } from '../http.ts'
import { actorOf } from '../middleware/callers.ts'
import { requireRight, requireRightOn } from '../middleware/rights.ts'
import { resourceQuery } from '../queries.ts'
import { pageOfAll } from './small-list.ts'

export function roleRoutes(app: VerbApp, deps: ApiDeps): void {
  const { stores } = deps

  app.get('/v1/roles', async (c) => {
    await requireRight(deps, c, 'role', 'list')
    const filter = query(c, resourceQuery)
    return c.json(pageOfAll(await stores.roles.list(), filter, roleDocumentOf))
  })

  app.get('/v1/roles/:name', async (c) => {
    await requireRightOn(deps, c, 'role', 'read')
    const role = await stores.roles.get(c.req.param('name'))
    if (!role) throw notFound()
    return c.json(roleDocumentOf(role))
  })

  app.put('/v1/roles/:name', async (c) => {
    const caller = await requireRightOn(deps, c, 'role', 'update')
    const role = toRole(body(c, roleResource, ROLE_SUGGESTIONS))
    if (role.name !== c.req.param('name'))
      throw badField('metadata.name', 'is not the name in the path')
    const outcome = await stores.roles.put(role)
    if (outcome !== 'unchanged')
      await audit(deps, c, {
        type: 'role.put',
        actor: actorOf(caller),
        resource: `role/${role.name}`,
        fields: { outcome, document: JSON.stringify(roleDocumentOf(role).spec) },
      })
    return c.json(roleDocumentOf(role), outcome === 'created' ? 201 : 200)
  })

  app.delete('/v1/roles/:name', async (c) => {
    const caller = await requireRightOn(deps, c, 'role', 'delete')
    const name = c.req.param('name')
    const holders = (await stores.users.list()).filter((user) => user.roles.includes(name))
    const [first] = holders
    if (first)
      throw new AppError(
        'ERR_CONFLICT',
        `${holders.length} users hold this role, ${first.name} among them; take it from them first`,
      )
    if (!(await stores.roles.remove(name))) throw notFound()
    await audit(deps, c, {
      type: 'role.delete',
      actor: actorOf(caller),
      resource: `role/${name}`,
    })
    return c.body(null, 204)
  })
}
