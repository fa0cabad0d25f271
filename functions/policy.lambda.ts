/** The function `policy`: its routes, its deps, nothing else. */
import { lambdaHandler } from './lambda.ts'
import { createVerb } from './verb.ts'
import { mountPolicy } from './verbs/policy.ts'
import { policyDeps, log } from './lambda-wiring.ts'

export const handler = lambdaHandler(log, async () => createVerb(await policyDeps(), mountPolicy))
