/** The whole control plane as one Hono app. Each Lambda mounts one verb alone (`<verb>.lambda.ts`). */
import type { AppDeps } from './deps.ts'
import type { VerbApp } from './http.ts'
import { joinRoutes } from './routes/join.ts'
import { loginRoutes } from './routes/login.ts'
import { createVerb } from './verb.ts'
import { mountApi } from './verbs/api.ts'
import { mountPolicy } from './verbs/policy.ts'
import { mountRotate } from './verbs/rotate.ts'

/** Id tokens are for the api verb alone, here as where each verb has its own function. */
const withoutIdTokens = (deps: AppDeps) => ({ ...deps, issuerKeys: undefined })

/** The api verb comes last: what it adds around its calls is then not around those of the others. */
export const createApp = (deps: AppDeps): VerbApp =>
  createVerb(
    deps,
    joinRoutes,
    (app) => loginRoutes(app, withoutIdTokens(deps)),
    (app) => mountPolicy(app, withoutIdTokens(deps)),
    (app) => mountRotate(app, withoutIdTokens(deps)),
    mountApi,
  )
