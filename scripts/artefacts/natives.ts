/**
 * What the artefacts hold besides our own code, pinned by version and hash: the Node runtime and the native parts, for both
 * architectures. npm fetches them as it fetches everything else; what does not have the hash is not used.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import type { Entry } from './tar.ts'

export type Arch = 'x64' | 'arm64'
export const ARCHES: readonly Arch[] = ['x64', 'arm64']
export const NODE_VERSION = '24.21.0'

export interface Pinned {
  readonly name: string
  readonly version: string
  /** As npm writes it: `sha512-…`. */
  readonly integrity: string
  readonly licence: string
}

const KOFFI = '3.3.4'
const runtime = (arch: Arch, integrity: string): Pinned => ({
  name: `node-linux-${arch}`,
  version: NODE_VERSION,
  integrity,
  licence: 'MIT',
})
const koffi = (arch: Arch, integrity: string): Pinned => ({
  name: `@koromix/koffi-linux-${arch}`,
  version: KOFFI,
  integrity,
  licence: 'MIT',
})
/* prettier-ignore */
export const NATIVES = {
  x64: {
    node: runtime('x64', 'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q=='),
    koffi: koffi('x64', 'sha512-xi47MKuoQ9fA2SsrH6wljl9t9120hO66qEmb1le6q636q55J974cZfcwDrK5nW1GalJ+0NLXoH2T3/NGQBzPNw=='),
  },
  arm64: {
    node: runtime('arm64', 'sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g=='),
    koffi: koffi('arm64', 'sha512-k6FPjEYDioyVihUqvRFX4QZK0RL/Rrn4xPEzrKxODxgLAUXlhBTut391zPzgsMcArXgN4YTuS11M/kxmA5s+Fg=='),
  },
} as const satisfies Record<Arch, { node: Pinned; koffi: Pinned }>

/** The package unpacked, in a folder named by its hash; fetched once. */
function unpacked(cache: string, pinned: Pinned): string {
  const digest = createHash('sha256').update(pinned.integrity).digest('hex').slice(0, 24)
  const dir = path.join(cache, digest)
  if (existsSync(dir)) return path.join(dir, 'package')
  const making = `${dir}.making-${process.pid}`
  rmSync(making, { recursive: true, force: true })
  mkdirSync(making, { recursive: true })
  const spec = `${pinned.name}@${pinned.version}`
  execFileSync('npm', ['pack', spec, '--silent', '--pack-destination', making], { stdio: 'pipe' })
  const [file = ''] = readdirSync(making)
  const bytes = readFileSync(path.join(making, file))
  const found = `sha512-${createHash('sha512').update(bytes).digest('base64')}`
  if (found !== pinned.integrity)
    throw new Error(`${spec}: has ${found}, and ${pinned.integrity} is pinned`)
  execFileSync('tar', ['-xzf', path.join(making, file), '-C', making])
  rmSync(path.join(making, file))
  renameSync(making, dir)
  return path.join(dir, 'package')
}

function* walk(dir: string, under = ''): Generator<string> {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const name = path.posix.join(under, entry.name)
    if (entry.isDirectory()) yield* walk(path.join(dir, entry.name), name)
    else yield name
  }
}

/** Files of a folder below `into`, those that `keep` wants. */
function entriesOf(dir: string, into: string, keep: (name: string) => boolean): Entry[] {
  return [...walk(dir)].filter(keep).map((name) => ({
    name: `${into}/${name}`,
    bytes: readFileSync(path.join(dir, name)),
  }))
}

/** What koffi needs to run: its loader, not its sources. */
const KOFFI_RUNS = /^(package\.json|LICENSE\.txt|(src\/koffi\/(src\/)?)?[a-z]+\.c?js)$/

/** The runtime: one program, and its licence, which names those of what is inside it. */
export function runtimeEntries(cache: string, arch: Arch): Entry[] {
  const dir = unpacked(cache, NATIVES[arch].node)
  return [
    { name: 'bin/node', bytes: readFileSync(path.join(dir, 'bin/node')), executable: true },
    { name: 'LICENSE.node', bytes: readFileSync(path.join(dir, 'LICENSE')) },
  ]
}

/** The native part as packages beside the bundles. */
export function nativeEntries(cache: string, arch: Arch, modules: string): Entry[] {
  const koffiDir = unpacked(cache, NATIVES[arch].koffi)
  return [
    ...entriesOf(path.join(modules, 'koffi'), 'lib/node_modules/koffi', (name) =>
      KOFFI_RUNS.test(name),
    ),
    ...entriesOf(koffiDir, `lib/node_modules/@koromix/koffi-linux-${arch}`, () => true),
  ]
}
