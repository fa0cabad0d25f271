/**
 * Idempotency-Key on writes: the first call runs, repeats get its answer. Only answers that changed something are kept, and
 * sealed, because a secret shown once may be among them.
 */
import { createHash } from 'node:crypto'
import type { MiddlewareHandler } from 'hono'
import type { ContentfulStatusCode, StatusCode } from 'hono/utils/http-status'
import { AppError, badField } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { ApiDeps } from '../deps.ts'
import { pathAndQuery, type Env } from '../http.ts'
import { callerOf } from './caller.ts'
import { principalOf } from './callers.ts'

/** What is sealed of an answer. */
interface Kept {
  readonly text: string
  readonly location?: string
}

export function idempotency(deps: ApiDeps): MiddlewareHandler<Env> {
  const { answerSealer: sealer, clock, stores } = deps
  return async (c, next) => {
    const key = c.req.header('idempotency-key')
    if (key === undefined || c.req.method === 'GET') return next()
    if (!/^[\x21-\x7e]+$/.test(key) || key.length > LIMITS.idempotencyKey.value)
      throw badField(
        'idempotency-key',
        `use 1 to ${LIMITS.idempotencyKey.value} printable characters without spaces`,
      )
    const principal = principalOf(await callerOf(deps, c))
    const request = createHash('sha256')
      .update(`${c.req.method} ${pathAndQuery(c.req.url)}\n`)
      .update(c.get('body'))
      .digest('base64url')
    const call = { principal, key, request }
    const context = `idempotency ${principal} ${key}`
    const start = await stores.idempotency.start(call, clock.now())
    switch (start.kind) {
      case 'mismatch':
        throw new AppError('ERR_IDEMPOTENCY_MISMATCH')
      case 'running':
        throw new AppError('ERR_CONFLICT', 'the first call with this key has not ended yet', {
          details: { retryAfter: 1 },
        })
      case 'done': {
        const plain = sealer.open(start.answer.body, context)
        if (!plain) throw new AppError('ERR_IDEMPOTENCY_MISMATCH')
        const { text, location } = JSON.parse(plain.toString('utf8')) as Kept
        c.header('idempotent-replay', 'true')
        if (location !== undefined) c.header('location', location)
        if (text === '') return c.body(null, start.answer.status as StatusCode)
        c.header('content-type', 'application/json')
        return c.body(text, start.answer.status as ContentfulStatusCode)
      }
      case 'first': {
        await next()
        if (c.error || c.res.status >= 400) {
          await stores.idempotency.abandon(call)
          return
        }
        const location = c.res.headers.get('location')
        const text = await c.res.clone().text()
        const kept: Kept = { text, ...(location === null ? {} : { location }) }
        const body = sealer.seal(Buffer.from(JSON.stringify(kept)), context)
        const answer = { status: c.res.status, body }
        await stores.idempotency.finish(call, answer, clock.now())
      }
    }
  }
}
