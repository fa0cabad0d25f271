/** `/v1/agents`: the processes behind the resources. Removing one also locks its id, so that live certificates are worth nothing. */
import { plus } from '../../core/clock.ts'
import type { Agent } from '../../core/domain/agent.ts'
import type { AgentDocument } from '../../core/api/documents.ts'
import { newId, parseId, type AgentId } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'
import { audit } from '../audit.ts'
import type { ApiDeps } from '../deps.ts'
import { agentDocumentOf } from '../documents.ts'
import { notFound, query, type Ctx, type VerbApp } from '../http.ts'
import { actorOf } from '../middleware/callers.ts'
import { requireRight, requireRightOn } from '../middleware/rights.ts'
import { pageQuery } from '../queries.ts'

async function documents(deps: ApiDeps, agents: readonly Agent[]): Promise<AgentDocument[]> {
  const { agents: store, presence } = deps.stores
  const seen = await presence.presenceOf(
    agents.map((agent) => agent.id),
    deps.clock.now(),
  )
  return Promise.all(
    agents.map(async (agent) => {
      const one = seen.get(agent.id)
      return agentDocumentOf(agent, {
        identities: await store.identities(agent.id),
        online: (one?.tunnels.length ?? 0) > 0,
        lastSeen: one?.lastSeen,
      })
    }),
  )
}

export function agentRoutes(app: VerbApp, deps: ApiDeps): void {
  const { clock, random, stores } = deps

  const idOf = (c: Ctx): AgentId => {
    const id = parseId('agent', c.req.param('id') ?? '')
    if (!id) throw notFound()
    return id
  }

  app.get('/v1/agents', async (c) => {
    await requireRight(deps, c, 'agent', 'list')
    const page = await stores.agents.list(query(c, pageQuery))
    const items = await documents(deps, page.items)
    return c.json({ items, ...(page.cursor === undefined ? {} : { cursor: page.cursor }) })
  })

  app.get('/v1/agents/:id', async (c) => {
    await requireRightOn(deps, c, 'agent', 'read')
    const agent = await stores.agents.get(idOf(c))
    const [document] = agent ? await documents(deps, [agent]) : []
    if (!document) throw notFound()
    return c.json(document)
  })

  app.delete('/v1/agents/:id', async (c) => {
    const caller = await requireRightOn(deps, c, 'agent', 'delete')
    const id = idOf(c)
    const agent = await stores.agents.get(id)
    if (!agent) throw notFound()
    const now = clock.now()
    // The lock first: it cuts live sessions, and lasts as long as any certificate of this agent can.
    const lock = newId('lock', now, random)
    await stores.locks.create({
      id: lock,
      target: { kind: 'agent', agent: id },
      message: 'the agent was removed',
      created: now,
      createdBy: actorOf(caller),
      expires: plus(now, LIMITS.agentCertTtl.value),
    })
    await stores.agents.remove(id)
    await audit(deps, c, {
      type: 'lock.create',
      actor: actorOf(caller),
      resource: `agent/${id}`,
      fields: { lock, removed: true, node: agent.nodeName },
    })
    return c.body(null, 204)
  })
}
