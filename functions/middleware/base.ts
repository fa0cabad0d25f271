/**
 * What every request passes, in this order: a request id, headers that keep browsers out, the body within its cap and time.
 * Paths nobody serves are 404, known paths with another method 405.
 */
import type { Clock } from '../../core/clock.ts'
import { AppError, badField } from '../../core/errors.ts'
import { ulid } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Log } from '../../core/log.ts'
import type { Random } from '../../core/random.ts'
import type { Ctx, VerbApp } from '../http.ts'
import { problemResponse } from './errors.ts'

export interface BaseMiddlewareDeps {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

const HEADERS = {
  // Answers carry secrets and decisions: no cache, no frame, no script, no other origin.
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
} as const

const tooLarge = (): AppError =>
  new AppError('ERR_INPUT_TOO_LARGE', `the body is larger than ${LIMITS.httpBody.value} bytes`)

async function readBody(request: Request, clock: Clock): Promise<Buffer> {
  if (!request.body) return Buffer.alloc(0)
  const max = LIMITS.httpBody.value
  if (Number(request.headers.get('content-length') ?? 0) > max) throw tooLarge()
  const reader = request.body.getReader() as ReadableStreamDefaultReader<Uint8Array>
  let late = false
  const deadline = clock.after(LIMITS.httpTimeout.value, () => {
    late = true
    void reader.cancel().catch(() => undefined)
  })
  try {
    const parts: Uint8Array[] = []
    let size = 0
    for (;;) {
      const { done, value } = await reader.read()
      if (late) throw new AppError('ERR_TIMEOUT', 'the body did not arrive in time')
      if (done) return Buffer.concat(parts)
      size += value.byteLength
      if (size > max) throw tooLarge()
      parts.push(value)
    }
  } finally {
    deadline.cancel()
    if (!late) void reader.cancel().catch(() => undefined)
  }
}

/** The method is known elsewhere on this path: which ones are. */
function methodsOf(app: VerbApp, path: string): string[] {
  const fits = (pattern: string): boolean => {
    const want = pattern.split('/')
    const have = path.split('/')
    return (
      want.length === have.length &&
      want.every((p, i) => (p.startsWith(':') ? have[i] !== '' : p === have[i]))
    )
  }
  const methods = app.routes.filter((r) => r.method !== 'ALL' && fits(r.path)).map((r) => r.method)
  return [...new Set(methods)].sort()
}

function unknownPath(app: VerbApp, c: Ctx, log: Log): Response {
  const methods = methodsOf(app, c.req.path)
  if (methods.length === 0) return problemResponse(c, new AppError('ERR_NOT_FOUND'), log)
  c.header('allow', methods.join(', '))
  const message = `use ${methods.join(' or ')}`
  return problemResponse(c, new AppError('ERR_METHOD_NOT_ALLOWED', message), log)
}

/** To be called before any route is added. */
export function useBase(app: VerbApp, deps: BaseMiddlewareDeps): void {
  const { clock, random, log } = deps
  app.use(async (c, next) => {
    const requestId = `rq_${ulid(clock.now(), random)}`
    c.set('requestId', requestId)
    c.header('x-request-id', requestId)
    for (const [name, value] of Object.entries(HEADERS)) c.header(name, value)
    c.set('body', await readBody(c.req.raw, clock))
    if ((c.req.method === 'GET' || c.req.method === 'DELETE') && c.get('body').length > 0)
      throw badField('(document)', `${c.req.method} takes no body`)
    await next()
  })
  app.onError((error, c) => problemResponse(c, error, log))
  app.notFound((c) => unknownPath(app, c, log))
}
