/** `/v1/oidc_connectors`: whose id tokens may call the API, and as which roles. */
import {
  connectorResource,
  CONNECTOR_SUGGESTIONS,
  toConnector,
  type OidcConnector,
} from '../../core/domain/oidc-connector.ts'
import { beyond } from '../../core/access/permits.ts'
import { AppError, badField } from '../../core/errors.ts'
import { audit } from '../audit.ts'
import type { ApiDeps } from '../deps.ts'
import { connectorDocumentOf } from '../documents.ts'
import { body, notFound, query, type VerbApp } from '../http.ts'
import { actorOf, type Caller } from '../middleware/callers.ts'
import { may, requireRight, requireRightOn } from '../middleware/rights.ts'
import { pageQuery } from '../queries.ts'
import { pageOfAll } from './small-list.ts'

/** Every role is there, and none gives what the caller may not do: a connector must not be a way around one's own rights. */
async function checkRoles(deps: ApiDeps, caller: Caller, connector: OidcConnector): Promise<void> {
  const allowed = (kind: Parameters<typeof may>[1], verb: Parameters<typeof may>[2]) =>
    may(caller, kind, verb)
  for (const [i, rule] of connector.rules.entries())
    for (const [j, name] of rule.roles.entries()) {
      const path = `spec.claims_to_roles.${i}.roles.${j}`
      const role = await deps.stores.roles.get(name)
      if (!role) throw badField(path, `there is no role ${name}; create it first`)
      const more = beyond(role.allow.rules, allowed)
      if (more !== undefined)
        throw new AppError(
          'ERR_FORBIDDEN',
          `${path}: ${name} may ${more}, which is more than you may do yourself`,
        )
    }
}

export function connectorRoutes(app: VerbApp, deps: ApiDeps): void {
  const { clock, stores } = deps

  app.get('/v1/oidc_connectors', async (c) => {
    await requireRight(deps, c, 'oidc_connector', 'list')
    const filter = query(c, pageQuery)
    return c.json(pageOfAll(await stores.connectors.list(), filter, connectorDocumentOf))
  })

  app.get('/v1/oidc_connectors/:name', async (c) => {
    await requireRightOn(deps, c, 'oidc_connector', 'read')
    const connector = await stores.connectors.get(c.req.param('name'))
    if (!connector) throw notFound()
    return c.json(connectorDocumentOf(connector))
  })

  app.put('/v1/oidc_connectors/:name', async (c) => {
    const caller = await requireRightOn(deps, c, 'oidc_connector', 'update')
    const given = toConnector(body(c, connectorResource, CONNECTOR_SUGGESTIONS), clock.now())
    if (given.name !== c.req.param('name'))
      throw badField('metadata.name', 'is not the name in the path')
    await checkRoles(deps, caller, given)
    const outcome = await stores.connectors.put(given)
    const stored = (await stores.connectors.get(given.name)) ?? given
    const document = connectorDocumentOf(stored)
    if (outcome !== 'unchanged')
      await audit(deps, c, {
        type: 'connector.put',
        actor: actorOf(caller),
        resource: `oidc_connector/${given.name}`,
        fields: { outcome, trusts: given.issuer, document: JSON.stringify(document.spec) },
      })
    return c.json(document, outcome === 'created' ? 201 : 200)
  })

  app.delete('/v1/oidc_connectors/:name', async (c) => {
    const caller = await requireRightOn(deps, c, 'oidc_connector', 'delete')
    const name = c.req.param('name')
    if (!(await stores.connectors.remove(name))) throw notFound()
    await audit(deps, c, {
      type: 'connector.delete',
      actor: actorOf(caller),
      resource: `oidc_connector/${name}`,
    })
    return c.body(null, 204)
  })
}
