/** What can be reached: the resources that agents announced. Written by AgentStore.announce. */
import type { Labels } from '../../core/domain/name.ts'
import type { Resource } from '../../core/domain/resource.ts'
import type { ResourceKind } from '../../core/domain/service.ts'
import type { AgentId } from '../../core/ids.ts'
import type { Page, PageRequest } from './page.ts'

export interface ResourceFilter extends PageRequest {
  /** Every label given must be there with this value. */
  readonly labels?: Labels | undefined
  /** Case-insensitive: part of the name, of the host name, or of a label's value. */
  readonly search?: string | undefined
}

export interface ResourceStore {
  /** Every agent's announcement of this name; [] when nobody serves it. Strongly consistent. */
  byName(kind: ResourceKind, name: string): Promise<Resource[]>
  /** Strongly consistent. */
  ofAgent(id: AgentId): Promise<Resource[]>
  /** Eventually consistent. */
  list(kind: ResourceKind, filter: ResourceFilter): Promise<Page<Resource>>
}
