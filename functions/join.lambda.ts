/** The function `join`: its routes, its deps, nothing else. */
import { lambdaHandler } from './lambda.ts'
import { joinRoutes } from './routes/join.ts'
import { caCertificateRoutes } from './routes/ca-certificate.ts'
import { createSetup, createVerb } from './verb.ts'
import { hostCaDeps, joinDeps, log } from './lambda-wiring.ts'

export const handler = lambdaHandler(
  log,
  async () => createVerb(await joinDeps(), joinRoutes),
  async () => createSetup(await hostCaDeps(), caCertificateRoutes),
)
