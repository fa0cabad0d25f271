/**
 * A verb behind API Gateway. What it needs is opened while the function starts, and again with each request for as long as that
 * fails: a cluster that is set up later, or a KMS that was away, needs no new deployment. Every answer, that of a failed start too,
 * is problem+json with a stable code.
 */
import { handle, type LambdaContext, type LambdaEvent } from 'hono/aws-lambda'
import { systemClock } from '../core/clock.ts'
import { AppError, reasonOf } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { systemRandom } from '../core/random.ts'
import { verbApp, type VerbApp } from './http.ts'
import { useBase } from './middleware/base.ts'

type Event = Extract<LambdaEvent, { rawPath: string }>
export type Handler = (event: Event, context: LambdaContext) => Promise<unknown>

/**
 * The path as an URL holds it. HTTP APIs hand on what the client percent-encoded decoded: a bare `?` or `#` would then end the
 * path. What is already encoded stays as it is; signatures compare what paths mean, not how they are spelled.
 */
const asUrlPath = (rawPath: string): string =>
  Buffer.from(rawPath, 'utf8')
    .toString('utf8')
    .replaceAll(/%(?![0-9A-Fa-f]{2})/g, '%25')
    .replaceAll(/[^A-Za-z0-9\-._~!$&'()*+,;=:@/%]/gu, encodeURIComponent)

/** An app that answers every request with this failure. */
function broken(error: unknown, log: Log): VerbApp {
  const app = verbApp()
  useBase(app, { clock: systemClock, random: systemRandom, log })
  app.all('*', () => {
    throw error
  })
  return app
}

/** Opens once and keeps it; after a failure the next caller tries again. */
function lasting(open: () => Promise<VerbApp>, log: Log): () => Promise<VerbApp> {
  let opened: Promise<VerbApp> | undefined
  return () =>
    (opened ??= open().catch((error: unknown) => {
      opened = undefined
      if (!(error instanceof AppError && error.code === 'ERR_CLUSTER_NEW'))
        log.error('function.start_failed', { reason: reasonOf(error) })
      return broken(error, log)
    }))
}

/**
 * `setup` serves the routes under `/v1/bootstrap`, which do not need a cluster to exist; the gateway lets only IAM callers
 * through to them.
 */
export function lambdaHandler(
  log: Log,
  open: () => Promise<VerbApp>,
  setup?: () => Promise<VerbApp>,
): Handler {
  const verb = lasting(open, log)
  const early = setup && lasting(setup, log)
  // While AWS starts the function; a failure is told to whoever asks.
  void verb()
  return async (event, context) => {
    const path = asUrlPath(event.rawPath)
    const app = early && path.startsWith('/v1/bootstrap') ? await early() : await verb()
    return handle(app)({ ...event, rawPath: path }, context)
  }
}
