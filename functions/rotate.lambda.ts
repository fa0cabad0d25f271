/** The function `rotate`: its routes over HTTP, and the look at automatic rotations when the schedule calls. */
import { lambdaHandler, type Handler } from './lambda.ts'
import { createVerb } from './verb.ts'
import { createTick, mountRotate } from './verbs/rotate.ts'
import { log, rotateDeps } from './lambda-wiring.ts'

const http = lambdaHandler(log, async () => createVerb(await rotateDeps(), mountRotate))

/** What EventBridge sends has a `source`; an HTTP API's event has a `rawPath`. */
type Scheduled = { readonly source: string }

export const handler = async (
  event: Parameters<Handler>[0] | Scheduled,
  context: Parameters<Handler>[1],
): Promise<unknown> =>
  'rawPath' in event ? http(event, context) : { moved: await createTick(await rotateDeps())() }
