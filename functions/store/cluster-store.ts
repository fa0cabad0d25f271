/** The cluster's own row: what is decided once, at the first start. */
import type { Instant } from '../../core/clock.ts'
import type { CaBundle } from '../../core/domain/policy.ts'

export interface Cluster {
  /** Made once by the server; the audience of signed requests. */
  readonly id: string
  readonly name: string
  readonly created: Instant
  /** Public halves of the CAs that a deployment was made with; what a rotation made of them is in the CAs' own rows. */
  readonly cas: CaBundle | undefined
}

export interface ClusterStore {
  /** Strongly consistent. */
  get(): Promise<Cluster | undefined>
  /** Put if absent: of racing first starts one wins, and every caller gets the winner's row. */
  init(cluster: Cluster): Promise<Cluster>
}
