/** A verb: one Hono app with the routes of one function and nothing else. */
import type { BaseDeps } from './deps.ts'
import { verbApp, type VerbApp } from './http.ts'
import { useBase, type BaseMiddlewareDeps } from './middleware/base.ts'

export type Mount<D> = (app: VerbApp, deps: D) => void

export function createVerb<D extends BaseDeps>(deps: D, ...mounts: readonly Mount<D>[]): VerbApp {
  const app = verbApp()
  useBase(app, deps)
  app.use(async (_c, next) => {
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
