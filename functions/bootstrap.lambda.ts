/** The function `bootstrap`: its routes, its deps, nothing else. It serves no cluster, it makes one. */
import { lambdaHandler } from './lambda.ts'
import { bootstrapDeps, log } from './lambda-wiring.ts'
import { bootstrapRoutes } from './routes/bootstrap.ts'
import { createSetup } from './verb.ts'

export const handler = lambdaHandler(log, async () =>
  createSetup(await bootstrapDeps(), bootstrapRoutes),
)
