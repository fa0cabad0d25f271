/** Pages of lists: at most `limit` items and a cursor while there may be more. A filtered page may be empty with a cursor. */

export interface PageRequest {
  /** 1 to LIMITS.pageSize; the default is LIMITS.pageSizeDefault. Out of range is refused, not clamped. */
  readonly limit?: number | undefined
  /** As the page before gave it. Opaque; one that we did not make, or made for another list, is refused. */
  readonly cursor?: string | undefined
}

export interface Page<T> {
  readonly items: readonly T[]
  /** Absent = this was the last page. */
  readonly cursor: string | undefined
}
