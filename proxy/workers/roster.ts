/** Who has which tunnels, over all workers: kept by the first process, told to every worker but the one it is about. */
import type { ConnId } from '../../core/ids.ts'
import type { News, Standing } from './protocol.ts'

export interface Roster {
  joined(worker: number, path: string): News
  changed(worker: number, opened: readonly Standing[], closed: readonly ConnId[]): News
  left(worker: number): News
  /** Everything that a new worker has to know. */
  all(): News[]
}

export function createRoster(): Roster {
  const workers = new Map<number, { path: string; tunnels: Map<ConnId, Standing> }>()
  return {
    joined(worker, path) {
      workers.set(worker, { path, tunnels: new Map() })
      return { worker, path, opened: [], closed: [] }
    },
    changed(worker, opened, closed) {
      const known = workers.get(worker)
      for (const tunnel of opened) known?.tunnels.set(tunnel.connId, tunnel)
      for (const connId of closed) known?.tunnels.delete(connId)
      return { worker, path: known?.path, opened, closed }
    },
    left(worker) {
      workers.delete(worker)
      return { worker, path: undefined, opened: [], closed: [] }
    },
    all: () =>
      [...workers].map(([worker, { path, tunnels }]) => ({
        worker,
        path,
        opened: [...tunnels.values()],
        closed: [],
      })),
  }
}
