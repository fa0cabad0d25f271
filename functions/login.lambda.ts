/** The function `login`: its routes, its deps, nothing else. */
import { handle } from 'hono/aws-lambda'
import { createVerb } from './verb.ts'
import { loginRoutes } from './routes/login.ts'
import { loginDeps } from './lambda-wiring.ts'

export const handler = handle(createVerb(await loginDeps(), loginRoutes))
