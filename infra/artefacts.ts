/** What `npm run artefacts` made: the files that machines and proxies download, each under its hash. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ContextError } from './context.ts'

export type Arch = 'x64' | 'arm64'

export interface Artefact {
  /** File that is uploaded. */
  readonly path: string
  readonly sha256: string
}
export interface Artefacts {
  readonly agent: Readonly<Record<Arch, Artefact>>
  readonly proxy: Artefact
}

interface Manifest {
  readonly files: Readonly<Record<string, { readonly sha256: string } | undefined>>
}

/** From a folder with a manifest. Throws ContextError when it is not there. */
export function readArtefacts(dir: string): Artefacts {
  const manifestPath = join(dir, 'manifest.json')
  if (!existsSync(manifestPath))
    throw new ContextError(
      `${manifestPath} is not there: run npm run artefacts, which packs what machines and proxies download`,
    )
  const { files } = JSON.parse(readFileSync(manifestPath, 'utf8')) as Manifest
  const one = (name: string): Artefact => {
    const sha256 = files[name]?.sha256
    if (sha256 === undefined)
      throw new ContextError(`${manifestPath} names no ${name}: run npm run artefacts again`)
    return { path: join(dir, name), sha256 }
  }
  return {
    agent: { x64: one('agent-x64.tar.gz'), arm64: one('agent-arm64.tar.gz') },
    proxy: one('proxy.mjs'),
  }
}
