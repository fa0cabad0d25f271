/** `npm run artefacts`: what machines and proxies download, into artefacts/. Needs npm's registry once, for runtime and natives. */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { agentArchive, makeBundles, manifestOf, type Made } from './artefacts/make.ts'
import { ARCHES, nativeEntries, runtimeEntries } from './artefacts/natives.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const OUT = path.join(ROOT, 'artefacts')
const CACHE = path.join(ROOT, 'node_modules/.cache/postern-natives')
const MODULES = path.join(ROOT, 'node_modules')

process.chdir(ROOT)
const { agent, bom, proxy } = await makeBundles()
const files: Made[] = [proxy, { name: 'sbom.cdx.json', bytes: Buffer.from(bom) }]
for (const arch of ARCHES) {
  const parts = [...runtimeEntries(CACHE, arch), ...nativeEntries(CACHE, arch, MODULES)]
  files.push({ name: `agent-${arch}.tar.gz`, bytes: agentArchive(agent, bom, parts) })
}
const manifest = manifestOf(files)
const making = `${OUT}.making-${process.pid}`
rmSync(making, { recursive: true, force: true })
mkdirSync(making, { recursive: true })
for (const { name, bytes } of files) writeFileSync(path.join(making, name), bytes)
// Last: a folder with a manifest is complete.
writeFileSync(path.join(making, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`)
rmSync(OUT, { recursive: true, force: true })
renameSync(making, OUT)
for (const [name, { size, sha256 }] of Object.entries(manifest.files))
  process.stdout.write(`${name.padEnd(20)} ${(size / 1e6).toFixed(1).padStart(6)} MB  ${sha256}\n`)
