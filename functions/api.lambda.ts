/** The function `api`: its routes, its deps, nothing else. */
import { handle } from 'hono/aws-lambda'
import { createVerb } from './verb.ts'
import { mountApi } from './verbs/api.ts'
import { apiDeps } from './lambda-wiring.ts'

export const handler = handle(createVerb(await apiDeps(), mountApi))
