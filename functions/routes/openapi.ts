/** `GET /v1/openapi.json`. The document is built on first use by a module of its own, which no other verb bundles. */
import type { BaseDeps } from '../deps.ts'
import type { VerbApp } from '../http.ts'

export function openapiRoutes(app: VerbApp, deps: BaseDeps): void {
  let document: Promise<object> | undefined
  app.get('/v1/openapi.json', async (c) => {
    document ??= import('../openapi/document.ts').then((m) =>
      m.openapiDocument(deps.version, deps.origins()),
    )
    return c.json(await document)
  })
}
