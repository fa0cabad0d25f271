/** The function `login`: its routes, its deps, nothing else. */
import { lambdaHandler } from './lambda.ts'
import { loginRoutes } from './routes/login.ts'
import { caCertificateRoutes } from './routes/ca-certificate.ts'
import { createSetup, createVerb } from './verb.ts'
import { userCaDeps, loginDeps, log } from './lambda-wiring.ts'

export const handler = lambdaHandler(
  log,
  async () => createVerb(await loginDeps(), loginRoutes),
  async () => createSetup(await userCaDeps(), caCertificateRoutes),
)
