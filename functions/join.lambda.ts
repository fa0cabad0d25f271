/** The function `join`: its routes, its deps, nothing else. */
import { handle } from 'hono/aws-lambda'
import { createVerb } from './verb.ts'
import { joinRoutes } from './routes/join.ts'
import { joinDeps } from './lambda-wiring.ts'

export const handler = handle(createVerb(await joinDeps(), joinRoutes))
