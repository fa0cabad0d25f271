/** The function `rotate`: its routes over HTTP, and the look at automatic rotations when the schedule calls. */
import { handle, type LambdaContext, type LambdaEvent } from 'hono/aws-lambda'
import { createVerb } from './verb.ts'
import { createTick, mountRotate } from './verbs/rotate.ts'
import { rotateDeps } from './lambda-wiring.ts'

const deps = await rotateDeps()
const http = handle(createVerb(deps, mountRotate))
const tick = createTick(deps)

/** EventBridge sends `{"source": "aws.events" | "aws.scheduler", …}`; everything else came over the HTTP API. */
export const handler = async (
  event: LambdaEvent | { readonly source: string },
  context?: LambdaContext,
): Promise<unknown> => ('source' in event ? { moved: await tick() } : http(event, context))
