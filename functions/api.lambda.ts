/** The function `api`: its routes, its deps, nothing else. */
import { lambdaHandler } from './lambda.ts'
import { createVerb } from './verb.ts'
import { mountApi } from './verbs/api.ts'
import { apiDeps, log } from './lambda-wiring.ts'

export const handler = lambdaHandler(log, async () => createVerb(await apiDeps(), mountApi))
