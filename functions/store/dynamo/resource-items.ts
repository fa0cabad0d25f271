/** Items of resources: one for each agent that announces one. */
import * as z from 'zod'
import { RESOURCE_KINDS, type ServiceKind } from '../../../core/domain/service.ts'
import type { Resource } from '../../../core/domain/resource.ts'
import type { AgentId } from '../../../core/ids.ts'
import { indexed, keys } from '../table.ts'
import { codec, idOf, stringMap } from './codec.ts'
import type { Plain } from './marshal.ts'

const resources = codec(
  'resource',
  z.object({
    kind: z.enum(RESOURCE_KINDS),
    name: z.string(),
    agentId: idOf<AgentId>(),
    labels: stringMap,
    protocol: z.enum(['tcp', 'http']).optional(),
    hostname: z.string().optional(),
  }),
  (b): Resource => ({ ...b, protocol: b.protocol, hostname: b.hostname }),
)
export const resourceFromItem = (item: Plain): Resource => resources.fromItem(item)
export const resourceItem = (resource: Resource, service: ServiceKind): Plain =>
  resources.item(
    {
      ...keys.resource(resource.agentId, service, resource.kind, resource.name),
      ...indexed(resource.kind, resource.name, resource.agentId),
    },
    { ...resource },
  )
