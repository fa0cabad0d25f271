/**
 * A process of a benchmark as the command is built: bundled, without the loader and the named closures that running from source brings.
 * Those cost a third more memory for each tunnel than what users run.
 */
import { mkdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { build } from 'esbuild'

const OUT = 'node_modules/.cache/postern-bench'

/** Answers the path of the bundle of `entry`, a path from the root of the tree. */
export async function bundled(entry: string): Promise<string> {
  mkdirSync(OUT, { recursive: true })
  const outfile = join(OUT, `${basename(entry, '.ts')}-${process.pid}.mjs`)
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    minifySyntax: true,
    minifyWhitespace: true,
    logLevel: 'warning',
  })
  return outfile
}
