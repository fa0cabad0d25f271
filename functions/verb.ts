/** A verb: one Hono app with the routes of one function and nothing else. */
import { badField } from '../core/errors.ts'
import type { BaseDeps } from './deps.ts'
import { verbApp, type Ctx, type VerbApp } from './http.ts'
import { useBase, type BaseMiddlewareDeps } from './middleware/base.ts'
import { WITH_QUERY } from './queries.ts'

export type Mount<D> = (app: VerbApp, deps: D) => void

/** An unknown parameter is refused by name, never ignored, also by calls that know none. */
function refuseQuery(c: Ctx): void {
  const start = c.req.url.indexOf('?')
  if (start < 0 || (c.req.method === 'GET' && WITH_QUERY.has(c.req.path))) return
  const [name] = new URL(c.req.url).searchParams.keys()
  throw badField(name?.slice(0, 64) ?? '(query)', 'unknown parameter')
}

export function createVerb<D extends BaseDeps>(deps: D, ...mounts: readonly Mount<D>[]): VerbApp {
  const app = verbApp()
  useBase(app, deps)
  app.use(async (c, next) => {
    refuseQuery(c)
    await deps.cas.refresh('when old')
    await next()
  })
  for (const mount of mounts) mount(app, deps)
  return app
}

/** Routes that need no cluster to exist: those that make it. */
export function createSetup<D extends BaseMiddlewareDeps>(deps: D, mount: Mount<D>): VerbApp {
  const app = verbApp()
  useBase(app, deps)
  mount(app, deps)
  return app
}
