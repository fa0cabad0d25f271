/**
 * The process's memory for receive windows. A stream always gets LIMITS.windowMin; whatever it has above that is taken from
 * here, so that ten thousand streams that all stop reading cannot hold more than the budget.
 */
import { LIMITS } from '../limits.ts'

export interface WindowBudget {
  /** Bytes not yet taken. */
  readonly left: number
  /** Takes up to `bytes`; the answer is how many were given, 0 when none are left. */
  take(bytes: number): number
  give(bytes: number): void
}

export function createWindowBudget(total: number = LIMITS.windowProcess.value): WindowBudget {
  let left = total
  return {
    get left() {
      return left
    },
    take(bytes) {
      const given = Math.max(0, Math.min(bytes, left))
      left -= given
      return given
    },
    give(bytes) {
      left = Math.min(total, left + bytes)
    },
  }
}
