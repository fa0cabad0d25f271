/** What each service of this agent serves under which labels, and what a service is given to work with. */
import type { Clock } from '../core/clock.ts'
import { agentLabelsOf } from '../core/certs/agent-labels.ts'
import { withTokenLabels, type Labels } from '../core/domain/name.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { Random } from '../core/random.ts'
import type { Announced } from './announce.ts'
import type { AgentConfig } from './config.ts'
import type { HeldIdentity } from './identity/store.ts'
import type { PolicyKeeper } from './policy/keeper.ts'
import type { ServiceParts } from './service-runner.ts'
import { SERVICES, type RunnableKind } from './services/registry.ts'
import type { AgentService, ServiceContext } from './services/service.ts'

export interface ServingDeps {
  /** Live. */
  config(): AgentConfig
  commandLabels(): Labels
  held(kind: RunnableKind): HeldIdentity | undefined
  readonly keeper: PolicyKeeper
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

export interface Serving {
  announced(kind: RunnableKind): Announced
  createService(kind: RunnableKind, parts: ServiceParts): AgentService
}

/** What an agent's own labels become with those of its token, which its certificate has. */
const labelled = (held: HeldIdentity | undefined, own: Labels): Labels =>
  held ? withTokenLabels(own, agentLabelsOf(held.certificate)) : own

export function createServing(deps: ServingDeps): Serving {
  const { keeper } = deps
  const nodeLabels = (held: HeldIdentity | undefined): Labels =>
    labelled(held, { ...deps.config().ssh?.labels, ...deps.commandLabels() })

  function contextOf(parts: ServiceParts): ServiceContext {
    return {
      clock: deps.clock,
      random: deps.random,
      log: deps.log,
      policy: keeper.view,
      credential() {
        const { agentId, stored } = parts.held()
        const { credentials } = stored
        return {
          agentId,
          cluster: credentials.cluster,
          nodeName: stored.node_name,
          keyPem: stored.key,
          x509Pem: credentials.x509,
          sshHostCert: credentials.ssh_host,
        }
      },
      nodeLabels: () => nodeLabels(parts.held()),
      audit(event) {
        // Decisions on an old view are marked (protocols.md 6), so that break-glass use can be found afterwards.
        const stale = keeper.age() > LIMITS.policyStaleMark.value
        parts.spool.append(
          stale ? { ...event, fields: { ...event.fields, stale_policy: true } } : event,
        )
      },
    }
  }

  return {
    announced(kind) {
      const held = deps.held(kind)
      const config = deps.config()
      switch (kind) {
        case 'ssh':
          return [
            {
              kind: 'node',
              name: held?.stored.node_name ?? config.nodeName,
              labels: nodeLabels(held),
              hostname: config.hostname.slice(0, 253),
            },
          ]
        case 'app':
          return (config.app?.apps ?? []).map((app) => ({
            kind: 'app',
            name: app.name,
            labels: labelled(held, app.labels),
            protocol: app.protocol,
          }))
      }
    },

    createService: (kind, parts) =>
      SERVICES[kind](contextOf(parts), {
        apps: () => deps.config().app?.apps ?? [],
        labelled: (own) => labelled(parts.held(), own),
      }),
  }
}
