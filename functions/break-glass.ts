/**
 * The way back in for whoever owns the data directory, and so every key of the cluster: takes away the locks that strike them and
 * gives the role `editor` its rights back. Never by itself, only when asked for; each change is in the audit log.
 */
import { permits, sidesOf } from '../core/access/permits.ts'
import { findLock } from '../core/domain/lock.ts'
import { DEFAULT_ROLES, type BootstrapDeps } from './bootstrap.ts'
import { lockTargetName } from './documents.ts'
import type { Stores } from './store/stores.ts'

export interface BreakGlassRequest {
  readonly user: string
  /** Roles that the user is about to hold. */
  readonly roles: readonly string[]
}
type Deps = Pick<BootstrapDeps, 'clock'> & {
  readonly stores: Pick<Stores, 'roles' | 'locks' | 'events'>
}

const REASON = 'break-glass by the owner of the data directory'

async function removeLocks({ clock, stores }: Deps, request: BreakGlassRequest): Promise<void> {
  const now = clock.now()
  const { user, roles } = request
  for (const lock of await stores.locks.list(now)) {
    if (!findLock([lock], { kind: 'user', user, roles }, now)) continue
    if (!(await stores.locks.remove(lock.id))) continue
    await stores.events.append({
      type: 'lock.delete',
      outcome: 'ok',
      actor: user,
      resource: lockTargetName(lock.target),
      session: undefined,
      reason: REASON,
      fields: { lock: lock.id },
    })
  }
}

async function restoreEditor({ stores }: Deps, request: BreakGlassRequest): Promise<void> {
  const held = await Promise.all(request.roles.map((name) => stores.roles.get(name)))
  const roles = held.filter((role) => role !== undefined)
  if (permits(sidesOf(roles), '*', '*')) return
  // A denial in any of them weighs more than what another allows.
  for (const role of DEFAULT_ROLES.filter(({ name }) => request.roles.includes(name))) {
    if ((await stores.roles.put(role)) === 'unchanged') continue
    await stores.events.append({
      type: 'role.put',
      outcome: 'ok',
      actor: request.user,
      resource: `role/${role.name}`,
      session: undefined,
      reason: REASON,
      fields: {},
    })
  }
}

export async function breakGlass(deps: Deps, request: BreakGlassRequest): Promise<void> {
  await removeLocks(deps, request)
  await restoreEditor(deps, request)
}
