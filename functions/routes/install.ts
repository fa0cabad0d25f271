/** `GET /install.sh` and the archives that it downloads. Open to anyone: they hold the program and no secret. */
import { AppError } from '../../core/errors.ts'
import { ARCHES, type Downloads } from '../install/downloads.ts'
import { installScript } from '../install/script.ts'
import { notFound, type VerbApp } from '../http.ts'
import type { BaseDeps } from '../deps.ts'

export interface InstallDeps extends Pick<BaseDeps, 'origins' | 'version'> {
  /** Undefined: this control plane was started without archives. */
  readonly downloads?: Downloads | undefined
}

export function installRoutes(app: VerbApp, deps: InstallDeps): void {
  const downloads = (): Downloads => {
    if (deps.downloads) return deps.downloads
    throw new AppError('ERR_NOT_FOUND', 'no agent archives are here: npm run artefacts makes them')
  }
  const texts = new Map<string, string>()

  app.get('/install.sh', (c) => {
    const [origin = ''] = deps.origins()
    const { archives } = downloads()
    const known = texts.get(origin) ?? installScript({ origin, version: deps.version, archives })
    texts.set(origin, known)
    return c.body(known, 200, { 'content-type': 'text/x-shellscript; charset=utf-8' })
  })

  app.get('/v1/agent/:file', async (c) => {
    const from = downloads()
    const arch = ARCHES.find((one) => c.req.param('file') === `postern-agent-${one}.tar.gz`)
    if (!arch) throw notFound()
    const found = await from.open(arch)
    if ('location' in found) return c.redirect(found.location, 302)
    return c.body(found.body, 200, {
      'content-type': 'application/gzip',
      'content-length': String(found.size),
    })
  })
}
