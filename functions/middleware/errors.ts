/** Every failure becomes RFC 9457 problem+json with a stable code; what only we may see goes to the log. */
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { reasonOf, toAppError, type AppError, type ErrorDetails } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'
import type { Ctx } from '../http.ts'

export interface Problem extends Omit<ErrorDetails, 'retryAfter'> {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: string
  readonly requestId: string
}

function problemOf(error: AppError, requestId: string): Problem {
  const { issues, serverTime, service, roles } = error.details ?? {}
  return {
    type: `urn:postern:error:${error.code}`,
    title: error.kind.title,
    status: error.kind.status,
    detail: error.message,
    code: error.code,
    requestId,
    ...(issues ? { issues } : {}),
    ...(serverTime === undefined ? {} : { serverTime }),
    ...(service === undefined ? {} : { service }),
    ...(roles ? { roles } : {}),
  }
}

export function problemResponse(c: Ctx, thrown: unknown, log: Log): Response {
  const error = toAppError(thrown)
  const requestId = c.get('requestId')
  const { status } = error.kind
  const fields = { requestId, code: error.code, method: c.req.method, path: c.req.path }
  const cause = status >= 500 && thrown instanceof Error ? { stack: causeStack(thrown) } : {}
  if (status >= 500) log.error('request.failed', { ...fields, reason: reasonOf(error), ...cause })
  else log.info('request.refused', { ...fields, reason: reasonOf(error) })
  const retryAfter = error.details?.retryAfter
  if (retryAfter !== undefined) c.header('retry-after', String(retryAfter))
  if (status === 401) c.header('www-authenticate', 'Bearer, Postern')
  return c.body(JSON.stringify(problemOf(error, requestId)), status as ContentfulStatusCode, {
    'content-type': 'application/problem+json',
  })
}

const causeStack = (error: Error): string | undefined =>
  error.cause instanceof Error ? error.cause.stack : error.stack
