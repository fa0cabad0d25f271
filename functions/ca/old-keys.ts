/** Which services of agents would be left behind if the key that does not sign any more were dropped now. */
import { trustedKeys, signingKey, type CaState } from '../../core/domain/ca.ts'
import { LIMITS } from '../../core/limits.ts'
import type { RotateDeps } from '../deps.ts'

/** Names that are told; the count is of all. */
export async function agentsOnOldKey(
  deps: Pick<RotateDeps, 'stores' | 'clock'>,
  state: CaState,
): Promise<string[]> {
  const now = deps.clock.now()
  const signs = signingKey(state).pin
  const others = trustedKeys(state)
    .map((key) => key.pin)
    .filter((pin) => pin !== signs)
  if (others.length === 0) return []
  const left: string[] = []
  let cursor: string | undefined
  do {
    const page = await deps.stores.agents.list({ limit: LIMITS.pageSize.value, cursor })
    for (const agent of page.items)
      for (const { service, expires, ca } of await deps.stores.agents.identities(agent.id))
        // A certificate whose issuer was not noted is from before there were rotations: it is of the old key.
        if (expires > now && ca !== signs) left.push(`${agent.nodeName}/${service}`)
    cursor = page.cursor
  } while (cursor !== undefined)
  return left
}
