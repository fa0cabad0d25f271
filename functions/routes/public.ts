/** What anyone may know: where the cluster is, and the public halves of its CAs. Pins shown here are never trusted by clients. */
import type { CaDocument, Discovery, Ping } from '../../core/domain/cluster.ts'
import { JOIN_METHODS } from '../../core/domain/join-method.ts'
import type { ApiDeps } from '../deps.ts'
import type { VerbApp } from '../http.ts'

export function publicRoutes(app: VerbApp, deps: ApiDeps): void {
  const { cluster, cas } = deps

  app.get('/.well-known/postern', (c) => {
    const discovery: Discovery = {
      cluster,
      api: deps.origins()[0] ?? new URL(c.req.url).origin,
      proxies: [...deps.proxies()],
      ca_pins: [...cas.now.pins],
    }
    return c.json(discovery)
  })

  app.get('/v1/ping', (c) => {
    const ping: Ping = {
      cluster,
      version: deps.version,
      proxies: [...deps.proxies()],
      join_methods: [...JOIN_METHODS],
      ca_pins: [...cas.now.pins],
    }
    return c.json(ping)
  })

  app.get('/v1/ca', async (c) => {
    const { host, user, policy } = cas.now.bundle
    const signed = await deps.stores.cas.signed()
    const document: CaDocument = {
      cluster,
      host: { x509: [...host.x509], ssh: [...host.ssh] },
      user: { x509: [...user.x509], ssh: [...user.ssh] },
      policy: [...policy],
      ca_pins: [...cas.now.pins],
      ca_version: cas.now.version,
      ...(signed ? { signed: signed.jws, policy_links: [...signed.links] } : {}),
    }
    return c.json(document)
  })
}
