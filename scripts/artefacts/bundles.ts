/**
 * The programs of the artefacts, each one file: the command with agent and proxy in it, and the two helper processes of the ssh
 * service. What only `postern up` and `serve store` need (the embedded engine) is left out, and says so when it is asked for.
 */
import path from 'node:path'
import { build, type Plugin } from 'esbuild'

const ROOT = path.resolve(import.meta.dirname, '../..')
/** Native parts: they lie beside the bundle, or are optional and absent. */
const EXTERNAL = ['bufferutil', 'utf-8-validate', 'cpu-features', '*.node']
const EMBEDDED = /^(dynalite|classic-level|abstract-level|level|esbuild)(\/|$)/
/** The proxy serves no ssh: what speaks it stays out of its bundle. */
const SSH = /^(koffi|ssh2|@noble\/post-quantum)(\/|$)/

const leaveOut = (name: string, filter: RegExp): Plugin => ({
  name,
  setup(on) {
    on.onResolve({ filter }, (asked) => ({ path: asked.path, namespace: name }))
    on.onLoad({ filter: /.*/, namespace: name }, () => ({
      contents: `throw new Error('${name} is not in this package; run it from a checkout')`,
      loader: 'js',
    }))
  },
})
/** Loaded when it is used and not when the file is: most commands need no C library. */
const koffiBeside: Plugin = {
  name: 'koffi-beside',
  setup(on) {
    on.onResolve({ filter: /^koffi$/ }, (asked) =>
      asked.namespace === 'koffi-beside'
        ? { path: 'koffi', external: true }
        : { path: 'koffi', namespace: 'koffi-beside' },
    )
    on.onLoad({ filter: /.*/, namespace: 'koffi-beside' }, () => ({
      contents: `module.exports = require('koffi')`,
      loader: 'js',
    }))
  },
}

export interface Bundle {
  /** `postern.mjs`. */
  readonly name: string
  readonly bytes: Uint8Array
}
export interface Bundles {
  readonly files: readonly Bundle[]
  /** Names of the npm packages whose code is in one of them. */
  readonly packages: readonly string[]
}

/** `node_modules/@a/b/lib/x.js` is of package `@a/b`, also when nested. */
const packageOf = (file: string): string | undefined =>
  /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[0]

const COMMAND = { in: path.join(ROOT, 'cli/main.ts'), out: 'postern' }
const helper = (name: string) => ({
  in: path.join(ROOT, `agent/services/ssh/${name}.main.ts`),
  out: name,
})

/** The command with the agent in it, and the processes of its ssh service. */
export const agentBundles = (): Promise<Bundles> =>
  bundle(
    [COMMAND, helper('ssh-worker'), helper('ssh-session-helper')],
    [leaveOut('the embedded store', EMBEDDED), koffiBeside],
  )
/** The command for `serve proxy` alone, without a native part. */
export const proxyBundle = (): Promise<Bundles> =>
  bundle(
    [{ ...COMMAND, out: 'proxy' }],
    [leaveOut('the embedded store', EMBEDDED), leaveOut('the ssh service', SSH)],
  )

async function bundle(
  entryPoints: { readonly in: string; readonly out: string }[],
  plugins: Plugin[],
): Promise<Bundles> {
  const made = await build({
    absWorkingDir: ROOT,
    entryPoints,
    outdir: 'out',
    outExtension: { '.js': '.mjs' },
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    mainFields: ['module', 'main'],
    external: EXTERNAL,
    plugins,
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'silent',
    banner: {
      js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
    },
  })
  const files = made.outputFiles.map((file) => ({
    name: path.basename(file.path),
    bytes: file.contents,
  }))
  const packages = Object.keys(made.metafile.inputs).map(packageOf)
  return {
    files: files.sort((a, b) => (a.name < b.name ? -1 : 1)),
    packages: [...new Set(packages.filter((name) => name !== undefined))].sort(),
  }
}
