/** `/v1/nodes` and `/v1/apps`: what agents serve, as far as the caller may see it, online or when last seen. */
import type { ListedResource, Resource } from '../../core/domain/resource.ts'
import { serviceOfResource } from '../../core/domain/service.ts'
import { resourceName } from '../../core/domain/name.ts'
import { AppError } from '../../core/errors.ts'
import type { ApiDeps } from '../deps.ts'
import { resourceDocumentOf } from '../documents.ts'
import { notFound, query, type VerbApp } from '../http.ts'
import { callerOf } from '../middleware/caller.ts'
import { resourceQuery } from '../queries.ts'
import { visibleTo } from '../visibility.ts'

/** Adds presence: one strongly consistent read for each hundred agents. */
async function listed(deps: ApiDeps, resources: readonly Resource[]): Promise<ListedResource[]> {
  const ids = [...new Set(resources.map((resource) => resource.agentId))]
  const seen = await deps.stores.presence.presenceOf(ids, deps.clock.now())
  return resources.map((resource) => {
    const presence = seen.get(resource.agentId)
    const service = serviceOfResource(resource.kind)
    const online = presence?.tunnels.some((tunnel) => tunnel.service === service) ?? false
    return { ...resource, online, lastSeen: presence?.lastSeen }
  })
}

function mount(app: VerbApp, deps: ApiDeps, kind: 'node' | 'app'): void {
  const { clock, stores } = deps

  app.get(`/v1/${kind}s`, async (c) => {
    const visible = visibleTo(await callerOf(deps, c), kind, clock.now())
    if (!visible) throw new AppError('ERR_FORBIDDEN')
    const page = await stores.resources.list(kind, query(c, resourceQuery))
    const shown = await listed(deps, page.items.filter(visible))
    const items = shown.map(resourceDocumentOf)
    return c.json({ items, ...(page.cursor === undefined ? {} : { cursor: page.cursor }) })
  })

  app.get(`/v1/${kind}s/:name`, async (c) => {
    const visible = visibleTo(await callerOf(deps, c), kind, clock.now())
    const name = resourceName.safeParse(c.req.param('name'))
    if (!visible || !name.success) throw notFound()
    const served = (await stores.resources.byName(kind, name.data)).filter(visible)
    const shown = await listed(deps, served)
    const best = shown.find((resource) => resource.online) ?? shown[0]
    if (!best) throw notFound()
    return c.json(resourceDocumentOf(best))
  })
}

export function servedRoutes(app: VerbApp, deps: ApiDeps): void {
  mount(app, deps, 'node')
  mount(app, deps, 'app')
}
