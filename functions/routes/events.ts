/** `GET /v1/events`: the audit log, newest first. */
import type { ApiDeps } from '../deps.ts'
import { eventDocumentOf } from '../documents.ts'
import { query, type VerbApp } from '../http.ts'
import { requireRight } from '../middleware/rights.ts'
import { eventQuery, moment } from '../queries.ts'

export function eventRoutes(app: VerbApp, deps: ApiDeps): void {
  app.get('/v1/events', async (c) => {
    await requireRight(deps, c, 'event', 'list')
    const asked = query(c, eventQuery)
    const page = await deps.stores.events.list({
      limit: asked.limit,
      cursor: asked.cursor,
      from: moment(asked.since, deps.clock),
      to: moment(asked.until, deps.clock),
      types: asked.type,
      actor: asked.user,
      resource: asked.resource,
      session: asked.session,
    })
    const items = page.items.map(eventDocumentOf)
    return c.json({ items, ...(page.cursor === undefined ? {} : { cursor: page.cursor }) })
  })
}
