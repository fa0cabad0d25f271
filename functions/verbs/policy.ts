/** Verb `policy`: the signed policy, its freshness, and routes. Holds the policy key only. */
import type { PolicyDeps } from '../deps.ts'
import type { VerbApp } from '../http.ts'
import { policyRoutes } from '../routes/policy.ts'
import { routeRoutes } from '../routes/routes.ts'

export function mountPolicy(app: VerbApp, deps: PolicyDeps): void {
  policyRoutes(app, deps)
  routeRoutes(app, deps)
}
