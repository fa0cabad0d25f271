/**
 * `npm run bench:lambdas`: what a cold start of each function loads: the size of its bundle, and the time that a bare process takes
 * to import it, against the same bundle with the SDK's whole chain of credential providers, interleaved.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { ALIASES, BUNDLE, ROOT } from '../infra/constructs/bundling.ts'
import { VERBS } from '../infra/routes.ts'
import { compare, save } from './support/rounds.ts'

const dir = mkdtempSync(join(tmpdir(), 'postern-lambdas-'))

async function bundle(verb: string, alias: Readonly<Record<string, string>>): Promise<string> {
  const outfile = join(dir, `${verb}-${Object.keys(alias).length}.mjs`)
  const { banner, ...shared } = BUNDLE
  await build({
    ...shared,
    banner: { js: banner },
    alias,
    absWorkingDir: ROOT,
    entryPoints: [`functions/${verb}.lambda.ts`],
    bundle: true,
    format: 'esm',
    platform: 'node',
    outfile,
    logLevel: 'error',
  })
  return outfile
}

const IMPORT =
  'const t = performance.now(); await import(process.argv[1]); console.log(performance.now() - t)'
/** Milliseconds, in a process that does nothing else. */
function importTime(file: string): number {
  const args = ['--no-warnings', '--input-type=module', '-e', IMPORT, file]
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  // Without the environment of a function its start says so first, in a line of its own.
  const ms = Number(stdout.trim().split('\n').at(-1))
  if (stdout === '' || Number.isNaN(ms)) throw new Error(stderr)
  return ms
}

const rows: object[] = []
for (const verb of VERBS) {
  const file = await bundle(verb, ALIASES)
  const whole = await bundle(verb, {})
  const kb = (path: string): number => Math.round(statSync(path).size / 1024)
  const medians = { bundle: kb(file), 'with all credential providers': kb(whole) }
  const ratio = medians.bundle / medians['with all credential providers']
  const size = { figure: `bundle of ${verb}`, unit: 'KB', medians, ratio }
  process.stdout.write(`${size.figure}: ${medians.bundle} KB, ${ratio.toFixed(2)}\n`)
  rows.push(verb === 'join' ? { ...size, target: '≤ 400 KB' } : size)
  if (verb !== 'join') continue
  rows.push(
    await compare(
      `import of ${verb}`,
      'ms',
      '≤ 45 ms',
      [
        { name: 'bundle', run: async () => importTime(file) },
        { name: 'with all credential providers', run: async () => importTime(whole) },
      ],
      9,
    ),
  )
}
save('lambdas', rows)
rmSync(dir, { recursive: true, force: true })
