/** What an agent says of itself: the resources that one of its services serves, and the audit events of its sessions. */
import { leaveRequest } from '../../core/api/documents.ts'
import { instant, plus } from '../../core/clock.ts'
import type { Agent } from '../../core/domain/agent.ts'
import { agentEvents, boundEvent, type AgentEvent } from '../../core/domain/event.ts'
import { withTokenLabels } from '../../core/domain/name.ts'
import { announcement, type Announcement, type Resource } from '../../core/domain/resource.ts'
import { resourceOfService } from '../../core/domain/service.ts'
import { AppError, badField } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { audit } from '../audit.ts'
import type { ApiDeps } from '../deps.ts'
import { body, type Ctx, type VerbApp } from '../http.ts'
import { callerOf } from '../middleware/caller.ts'
import { actorOf, type AgentCaller } from '../middleware/callers.ts'

async function agentOnly(deps: ApiDeps, c: Ctx): Promise<AgentCaller> {
  const caller = await callerOf(deps, c)
  if (caller.kind !== 'agent') throw new AppError('ERR_FORBIDDEN')
  return caller
}

type Announced = Announcement['resources'][number]

function checkName(one: Announced, path: string, agent: Agent, caller: AgentCaller): void {
  const { service } = caller.identity
  if (service === 'discovery' || resourceOfService(service) !== one.kind)
    throw badField(`${path}.kind`, `the ${service} service does not serve ${one.kind}s`)
  if (one.kind === 'node' && one.name !== agent.nodeName)
    throw badField(
      `${path}.name`,
      `this agent joined as ${agent.nodeName}; another nodename needs a fresh join`,
    )
  if (agent.allowedNames && !agent.allowedNames.includes(one.name))
    throw badField(`${path}.name`, "is not among the names that the agent's token allowed")
}

/** What the table keeps: the labels that count, those of the token included. */
function toResource(one: Announced, path: string, agent: Agent): Resource {
  const labels = withTokenLabels(one.labels, {
    forced: agent.forcedLabels,
    suggested: agent.suggestedLabels,
  })
  if (Object.keys(labels).length > LIMITS.labels.value)
    throw badField(`${path}.labels`, `at most ${LIMITS.labels.value}, those of the token included`)
  return {
    kind: one.kind,
    name: one.name,
    agentId: agent.id,
    labels,
    protocol: one.kind === 'app' ? one.protocol : undefined,
    hostname: one.kind === 'node' ? one.hostname : undefined,
  }
}

function toResources(given: Announcement, agent: Agent, caller: AgentCaller): Resource[] {
  const names = new Set<string>()
  return given.resources.map((one, i) => {
    const path = `resources.${i}`
    checkName(one, path, agent, caller)
    if (names.has(one.name)) throw badField(`${path}.name`, 'is announced twice')
    names.add(one.name)
    return toResource(one, path, agent)
  })
}

export function agentSelfRoutes(app: VerbApp, deps: ApiDeps): void {
  const { clock, stores } = deps

  app.post('/v1/agents/self/resources', async (c) => {
    const caller = await agentOnly(deps, c)
    const { agentId, service } = caller.identity
    const agent = await stores.agents.get(agentId)
    if (!agent) throw new AppError('ERR_UNAUTHENTICATED')
    const resources = toResources(body(c, announcement), agent, caller)
    const outcome = await stores.agents.announce(agentId, service, resources)
    switch (outcome.kind) {
      case 'name taken':
        throw new AppError('ERR_NAME_TAKEN', `another agent holds the name ${outcome.name.name}`, {
          details: { issues: [{ path: 'resources', message: `${outcome.name.name} is taken` }] },
        })
      case 'unknown agent':
        throw new AppError('ERR_UNAUTHENTICATED')
      case 'replaced':
        await audit(deps, c, {
          type: 'agent.resources',
          actor: actorOf(caller),
          resource: `agent/${agentId}`,
          fields: {
            service,
            count: resources.length,
            names: resources.map((r) => r.name).slice(0, 64),
          },
        })
        break
      case 'unchanged':
    }
    return c.json({ changed: outcome.kind === 'replaced' })
  })

  app.post('/v1/agents/self/leave', async (c) => {
    const caller = await agentOnly(deps, c)
    const { agentId, service } = caller.identity
    body(c, leaveRequest)
    const agent = await stores.agents.get(agentId)
    const removed =
      agent !== undefined && (await stores.agents.removeService(agent, service, clock.now()))
    if (removed)
      await audit(deps, c, {
        type: 'agent.leave',
        actor: actorOf(caller),
        resource: `agent/${agentId}`,
        fields: { service },
      })
    return c.json({ removed })
  })

  /** An agent reports only of itself, and not of the future. */
  const toAppend = (event: AgentEvent, caller: AgentCaller) => {
    const { agentId, service } = caller.identity
    const now = clock.now()
    const claimed = instant(event.time)
    const time = claimed > plus(now, LIMITS.proofWindow.value) || claimed < 0 ? now : claimed
    return {
      unique: `${agentId}#${event.key}`,
      event: boundEvent({
        type: event.type,
        time,
        outcome: event.outcome,
        actor: event.actor,
        resource: event.resource,
        session: event.session,
        reason: event.reason,
        fields: { ...event.fields, agent: agentId, service },
      }),
    }
  }

  app.post('/v1/agents/self/events', async (c) => {
    const caller = await agentOnly(deps, c)
    const { events } = body(c, agentEvents)
    await stores.events.appendAll(events.map((event) => toAppend(event, caller)))
    return c.json({ accepted: events.length })
  })
}
