/**
 * Bundles the command and the agent's helper processes with esbuild. Each build is a folder of its own, dist/<build>/, made
 * under another name and renamed when it is complete; dist/stamp.json names the newest. So launches at the same time cannot
 * harm each other, and a process that runs on keeps the files it was started from.
 */
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { DIST, fingerprint, readStamp, ROOT, sources, STAMP } from './sources.mjs'

// Native modules and what reaches into its own package folder stay in node_modules; the rest is bundled, which starts faster.
const EXTERNAL = [
  'koffi',
  'ssh2',
  'bufferutil',
  'utf-8-validate',
  'dynalite',
  'classic-level',
  'abstract-level',
  'level',
  'esbuild',
]
/** Finished builds that stay on disk for processes that still run from them. */
const KEPT_BUILDS = 8
const LOCK = path.join(DIST, '.lock')
const LOCK_STALE_MS = 60_000

async function bundle(files, outdir) {
  const { build } = await import('esbuild')
  const mains = files.filter((file) => /[\\/]agent[\\/].*\.main\.ts$/.test(file))
  await build({
    entryPoints: [
      { in: path.join(ROOT, 'cli/main.ts'), out: 'postern' },
      ...mains.map((file) => ({ in: file, out: path.basename(file, '.main.ts') })),
    ],
    outdir,
    outExtension: { '.js': '.mjs' },
    chunkNames: 'chunk-[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    mainFields: ['module', 'main'],
    external: EXTERNAL,
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'silent',
    // CommonJS packages inside the bundle ask for node's own modules by require().
    banner: {
      js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
    },
  })
}

function alive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (e) {
    return e.code === 'EPERM'
  }
}

/** Only saves work: thirty ssh connections after an edit should build once. Correctness comes from the rename. */
async function withLock(work) {
  mkdirSync(DIST, { recursive: true })
  for (;;) {
    try {
      writeFileSync(LOCK, String(process.pid), { flag: 'wx' })
      break
    } catch (e) {
      if (e.code !== 'EEXIST') throw e
    }
    const since = statSync(LOCK, { throwIfNoEntry: false })?.mtimeMs
    if (since === undefined) continue
    let holder = Number.NaN
    try {
      holder = Number(readFileSync(LOCK, 'utf8'))
    } catch {
      continue
    }
    const old = Date.now() - since
    if (old > LOCK_STALE_MS || (old > 1000 && !alive(holder))) rmSync(LOCK, { force: true })
    else await new Promise((resolve) => setTimeout(resolve, 50))
  }
  try {
    return await work()
  } finally {
    rmSync(LOCK, { force: true })
  }
}

function removeOldBuilds(current) {
  const builds = readdirSync(DIST, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== current)
    .map((entry) => path.join(DIST, entry.name))
    .map((dir) => ({ dir, at: statSync(dir, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .sort((a, b) => b.at - a.at)
  for (const { dir } of builds.slice(KEPT_BUILDS - 1)) rmSync(dir, { recursive: true, force: true })
}

/** Builds unless the newest build is of these very sources. Answers the build's name. */
export async function ensureBuilt() {
  return withLock(async () => {
    const files = sources()
    const print = fingerprint(files)
    const stamp = readStamp()
    if (stamp?.fingerprint === print) return stamp.build
    const name = `b-${print}`
    const made = path.join(DIST, `.making-${process.pid}`)
    rmSync(made, { recursive: true, force: true })
    try {
      await bundle(files, made)
      rmSync(path.join(DIST, name), { recursive: true, force: true })
      renameSync(made, path.join(DIST, name))
    } finally {
      rmSync(made, { recursive: true, force: true })
    }
    writeFileSync(`${STAMP}.${process.pid}`, JSON.stringify({ build: name, fingerprint: print }))
    renameSync(`${STAMP}.${process.pid}`, STAMP)
    removeOldBuilds(name)
    return name
  })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const name = await ensureBuilt()
  process.stderr.write(`built dist/${name}\n`)
}
