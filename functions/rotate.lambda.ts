/** The function `rotate`: its routes over HTTP, and the look at automatic rotations when the schedule calls. */
import { lambdaHandler, type Handler } from './lambda.ts'
import { ensureDbClientCa } from './ca/db-client-ca.ts'
import { ensureJwtKey } from './ca/jwt-key.ts'
import { createVerb } from './verb.ts'
import { createTick, mountRotate } from './verbs/rotate.ts'
import { log, rotateDeps } from './lambda-wiring.ts'

const http = lambdaHandler(log, async () => createVerb(await rotateDeps(), mountRotate))

/**
 * Sent by whoever wants JWTs of this cluster to be verified, or its database servers to know its agents: a key costs a dollar a month,
 * so none is made before.
 */
const WANTS_JWTS = 'postern.jwt'
const WANTS_DB_CLIENTS = 'postern.db_client'

async function called({ source }: Scheduled): Promise<object> {
  const deps = await rotateDeps()
  if (source === WANTS_JWTS) return { jwk: (await ensureJwtKey(deps)).jwk }
  if (source === WANTS_DB_CLIENTS)
    return { certificate: (await ensureDbClientCa(deps)).certificate }
  return { moved: await createTick(deps)() }
}

/** What EventBridge sends has a `source`; an HTTP API's event has a `rawPath`. */
type Scheduled = { readonly source: string }

export const handler = async (
  event: Parameters<Handler>[0] | Scheduled,
  context: Parameters<Handler>[1],
): Promise<unknown> => ('rawPath' in event ? http(event, context) : called(event))
