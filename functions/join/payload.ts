/** The signed payload of a join, read; and what one that cannot be read says of itself, so that the audit log has the attempt. */
import * as z from 'zod'
import { joinPayload, type JoinPayload } from '../../core/api/join.ts'
import { resourceName } from '../../core/domain/name.ts'
import { IDENTITY_KINDS } from '../../core/domain/service.ts'
import { JOIN_METHODS } from '../../core/domain/join-method.ts'
import { parse } from '../../core/parse.ts'
import { parseJson } from '../../core/strict-json.ts'
import type { JoinTrace } from './join.ts'

const claims = z.object({
  service: z.enum(IDENTITY_KINDS),
  method: z.enum(JOIN_METHODS).optional().catch(undefined),
  node_name: resourceName.optional().catch(undefined),
})

/** Nothing is decided by it: a name that is there twice may be either. Bodies that name no service were never a join. */
function untrustedTrace(bytes: Buffer): Pick<JoinTrace, 'service' | 'method' | 'node'> {
  try {
    const { service, method, node_name: node } = claims.parse(JSON.parse(bytes.toString('utf8')))
    return { service, ...(method ? { method } : {}), ...(node === undefined ? {} : { node }) }
  } catch {
    return {}
  }
}

/** Throws ERR_INPUT_INVALID. */
export function readPayload(bytes: Buffer, trace: JoinTrace): JoinPayload {
  try {
    const payload = parse(joinPayload, parseJson(bytes))
    trace.node = payload.node_name
    trace.service = payload.service
    trace.method = payload.method
    return payload
  } catch (error) {
    Object.assign(trace, untrustedTrace(bytes))
    throw error
  }
}
