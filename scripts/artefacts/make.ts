/** Puts the artefacts together, from given parts to given bytes: nothing of the time, the place or the person gets in. */
import { createHash } from 'node:crypto'
import { VERSION } from '../../core/version.ts'
import { agentBundles, proxyBundle, type Bundles } from './bundles.ts'
import { sbom } from './sbom.ts'
import { tarGz, type Entry } from './tar.ts'

export interface Made {
  readonly name: string
  readonly bytes: Uint8Array
}

export interface Manifest {
  readonly version: string
  readonly files: Readonly<Record<string, { readonly sha256: string; readonly size: number }>>
}

const text = (name: string, content: string, executable = false): Entry => ({
  name,
  bytes: Buffer.from(content, 'utf8'),
  executable,
})

/** Finds its own folder through links, so that /usr/local/bin/postern may point to it. */
const LAUNCHER = `#!/bin/sh
# Starts Postern with the runtime that came with it.
set -eu
self=$0
while [ -L "$self" ]; do
  target=$(readlink "$self")
  case $target in
    /*) self=$target ;;
    *) self=$(dirname "$self")/$target ;;
  esac
done
root=$(cd "$(dirname "$self")/.." && pwd -P)
exec "$root/bin/node" "$root/lib/postern.mjs" "$@"
`

/** The archive of one architecture; `parts` are the runtime and the native packages. */
export function agentArchive(bundles: Bundles, bom: string, parts: readonly Entry[]): Buffer {
  const entries = [
    ...bundles.files.map((file): Entry => ({ name: `lib/${file.name}`, bytes: file.bytes })),
    text('bin/postern', LAUNCHER, true),
    text('VERSION', `${VERSION}\n`),
    text('sbom.cdx.json', bom),
    ...parts,
  ]
  return tarGz(entries.map((entry) => ({ ...entry, name: `postern/${entry.name}` })))
}

export async function makeBundles(): Promise<{ agent: Bundles; bom: string; proxy: Made }> {
  const [agent, proxy] = await Promise.all([agentBundles(), proxyBundle()])
  const [file] = proxy.files
  if (!file) throw new Error('the proxy has no bundle')
  return { agent, bom: sbom([...agent.packages, ...proxy.packages], VERSION), proxy: file }
}

export function manifestOf(files: readonly Made[]): Manifest {
  const entries = [...files]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, bytes }) => {
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      return [name, { sha256, size: bytes.length }] as const
    })
  return { version: VERSION, files: Object.fromEntries(entries) }
}
