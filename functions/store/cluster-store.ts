/** The cluster's own row: what is decided once, at the first start. */
import type { Instant } from '../../core/clock.ts'
import type { CaBundle } from '../../core/domain/policy.ts'

export interface Cluster {
  /** Made once by the server; the audience of signed requests. */
  readonly id: string
  readonly name: string
  readonly created: Instant
  /** Public halves only. undefined where another place keeps them (files of a single machine). */
  readonly cas: CaBundle | undefined
}

export interface ClusterStore {
  /** Strongly consistent. */
  get(): Promise<Cluster | undefined>
  /** Put if absent: of racing first starts one wins, and every caller gets the winner's row. */
  init(cluster: Cluster): Promise<Cluster>
  /** Replaces the public CAs; ERR_CONFLICT when `expected` is not what is stored, so that a rotation cannot undo another. */
  replaceCas(expected: CaBundle | undefined, cas: CaBundle): Promise<void>
}
