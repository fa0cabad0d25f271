/** `GET /v1/policy` and its freshness, for agents and proxies. */
import {
  FRESHNESS_HEADER,
  policyEtag,
  type FreshnessAnswer,
  type PolicyAnswer,
} from '../../core/api/policy.ts'
import { AppError } from '../../core/errors.ts'
import type { PolicyDeps } from '../deps.ts'
import type { Ctx, VerbApp } from '../http.ts'
import { callerOf } from '../middleware/caller.ts'
import { createPolicyPublisher } from '../policy/publisher.ts'

/** The policy tells who may do what: only those who enforce it read it. */
async function enforcersOnly(deps: PolicyDeps, c: Ctx): Promise<void> {
  const caller = await callerOf(deps, c)
  if (caller.kind !== 'agent' && caller.kind !== 'proxy') throw new AppError('ERR_FORBIDDEN')
}

export function policyRoutes(app: VerbApp, deps: PolicyDeps): void {
  const publisher = createPolicyPublisher(deps)

  app.get('/v1/policy', async (c: Ctx) => {
    await enforcersOnly(deps, c)
    const policy = await publisher.current()
    const stamp = await publisher.freshness(policy)
    const etag = policyEtag(policy.version)
    c.header('etag', etag)
    c.header(FRESHNESS_HEADER, stamp.jws)
    if (c.req.header('if-none-match') === etag) return c.body(null, 304)
    const cas = await deps.stores.cas.signed()
    const answer: PolicyAnswer = {
      version: policy.version,
      policy: policy.jws,
      freshness: stamp.jws,
      ...(cas ? { cas: cas.jws, links: [...cas.links] } : {}),
    }
    return c.json(answer)
  })

  app.get('/v1/policy/freshness', async (c: Ctx) => {
    await enforcersOnly(deps, c)
    const stamp = await publisher.stamp()
    const answer: FreshnessAnswer = { version: stamp.version, freshness: stamp.jws }
    return c.json(answer)
  })
}
