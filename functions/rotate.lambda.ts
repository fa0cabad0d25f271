/** The function `rotate`: its routes over HTTP, and the look at automatic rotations when the schedule calls. */
import { lambdaHandler, type Handler } from './lambda.ts'
import { reasonOf } from '../core/errors.ts'
import { ensureJwtKey } from './ca/jwt-key.ts'
import { createVerb } from './verb.ts'
import { createTick, mountRotate } from './verbs/rotate.ts'
import { log, rotateDeps } from './lambda-wiring.ts'

const http = lambdaHandler(log, async () => createVerb(await rotateDeps(), mountRotate))

async function byClock(): Promise<{ readonly moved: number }> {
  const deps = await rotateDeps()
  // A KMS that gives no key now gives one an hour later; rotations do not wait for it.
  await ensureJwtKey(deps).catch((error: unknown) =>
    log.error('jwt.key_failed', { reason: reasonOf(error) }),
  )
  return { moved: await createTick(deps)() }
}

/** What EventBridge sends has a `source`; an HTTP API's event has a `rawPath`. */
type Scheduled = { readonly source: string }

export const handler = async (
  event: Parameters<Handler>[0] | Scheduled,
  context: Parameters<Handler>[1],
): Promise<unknown> => ('rawPath' in event ? http(event, context) : byClock())
