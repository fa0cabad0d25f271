/** Verb `rotate`: makes and retires CA keys, by hand over HTTP and by itself on a schedule. Signs nothing but new CAs' own certificates. */
import { createRotator } from '../ca/rotation.ts'
import type { RotateDeps } from '../deps.ts'
import type { VerbApp } from '../http.ts'
import { caEvent, caRoutes } from '../routes/cas.ts'

export function mountRotate(app: VerbApp, deps: RotateDeps): void {
  caRoutes(app, deps)
}

/** One look at the automatic rotations; what moved is in the audit log. Answers how many. */
export function createTick(deps: RotateDeps): () => Promise<number> {
  const rotator = createRotator(deps)
  let running: Promise<number> | undefined
  async function look(): Promise<number> {
    const moved = await rotator.tick()
    for (const state of moved)
      await deps.stores.events.append({
        ...caEvent('ca.rotate', state),
        outcome: 'ok',
        actor: 'postern',
        session: undefined,
        reason: undefined,
      })
    return moved.length
  }
  return () =>
    (running ??= look().finally(() => {
      running = undefined
    }))
}
