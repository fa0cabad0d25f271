/** What users reach: nodes and apps, as agents announce them and as lists show them. */
import * as z from 'zod'
import type { Instant } from '../clock.ts'
import type { AgentId } from '../ids.ts'
import { LIMITS } from '../limits.ts'
import { labels, resourceName, type Labels } from './name.ts'
import type { ResourceKind } from './service.ts'

/** Where the agent forwards an app's connections. `tcp` splices bytes; `http` is plain HTTP, spliced as bytes as well. */
export type AppProtocol = 'tcp' | 'http'

export interface Resource {
  readonly kind: ResourceKind
  readonly name: string
  readonly agentId: AgentId
  readonly labels: Labels
  /** For apps: how a client should speak to it. */
  readonly protocol: AppProtocol | undefined
  /** For nodes: the machine's own host name. */
  readonly hostname: string | undefined
}

/** A resource as lists show it. */
export interface ListedResource extends Resource {
  readonly online: boolean
  /** When an agent that serves it was last connected; undefined = never yet. */
  readonly lastSeen: Instant | undefined
}

/** `POST /v1/agents/self/resources`: everything one service of this agent serves, replacing what it announced before. */
export const announcement = z.strictObject({
  resources: z
    .array(
      z.discriminatedUnion('kind', [
        z.strictObject({
          kind: z.literal('node'),
          name: resourceName,
          labels,
          hostname: z.string().max(253),
        }),
        z.strictObject({
          kind: z.literal('app'),
          name: resourceName,
          labels,
          protocol: z.enum(['tcp', 'http']),
        }),
      ]),
    )
    .max(LIMITS.resourcesPerAgent.value),
})
export type Announcement = z.output<typeof announcement>
