/** The function `policy`: its routes, its deps, nothing else. */
import { handle } from 'hono/aws-lambda'
import { createVerb } from './verb.ts'
import { mountPolicy } from './verbs/policy.ts'
import { policyDeps } from './lambda-wiring.ts'

export const handler = handle(createVerb(await policyDeps(), mountPolicy))
