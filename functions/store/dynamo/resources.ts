/** Resources as lists and routes read them. See resource-store.ts for what each method promises. */
import { serviceOfResource } from '../../../core/domain/service.ts'
import type { Resource } from '../../../core/domain/resource.ts'
import type { AgentStore } from '../agent-store.ts'
import type { ResourceFilter, ResourceStore } from '../resource-store.ts'
import { joinKey, keys } from '../table.ts'
import { listPage, type ListDeps } from './list.ts'
import { resourceFromItem } from './resource-items.ts'

function matches(resource: Resource, filter: ResourceFilter): boolean {
  for (const [key, value] of Object.entries(filter.labels ?? {}))
    if (resource.labels[key] !== value) return false
  const search = filter.search?.toLowerCase()
  if (search === undefined || search === '') return true
  const texts = [resource.name, resource.hostname ?? '', ...Object.values(resource.labels)]
  return texts.some((text) => text.toLowerCase().includes(search))
}

export function createResourceStore(
  deps: ListDeps & { readonly agents: Pick<AgentStore, 'holders'> },
): ResourceStore {
  const { table, agents } = deps
  return {
    async byName(kind, name) {
      const service = serviceOfResource(kind)
      const holders = await agents.holders(kind, name)
      const items = await table.getMany(holders.map((id) => keys.resource(id, service, kind, name)))
      return items.map(resourceFromItem)
    },
    async ofAgent(id) {
      const items = await table.queryAll({ partition: keys.agent(id).pk, prefix: 'RES#' })
      return items.map(resourceFromItem)
    },
    list: (kind, filter) =>
      listPage(deps, {
        list: kind,
        page: filter,
        filters: joinKey(
          JSON.stringify(Object.entries(filter.labels ?? {}).sort()),
          filter.search ?? '',
        ),
        decode: resourceFromItem,
        keep: (resource) => matches(resource, filter),
      }),
  }
}
