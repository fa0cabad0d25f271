/**
 * Which files the command is built from, and a fingerprint of them. Names, sizes and times are enough: it runs before every
 * command of a checkout, so it must cost a few milliseconds, and unlike "newest file" it also sees a removed or restored one.
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))
export const DIST = path.join(ROOT, 'dist')
const STAMP = path.join(DIST, 'stamp.json')
const FOLDERS = ['core', 'net', 'functions', 'proxy', 'agent', 'cli']

function* walk(dir) {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const full = path.join(dir, entry.name)
    if (entry.isDirectory()) yield* walk(full)
    else if (/\.(ts|json)$/.test(entry.name)) yield full
  }
}

/** Every source of the running parts; empty in an installed package, which carries no sources. */
export function sources() {
  return FOLDERS.map((folder) => path.join(ROOT, folder))
    .filter((dir) => existsSync(dir))
    .flatMap((dir) => [...walk(dir)])
}

export function fingerprint(files) {
  const hash = createHash('sha256')
  const others = ['bin/build.mjs', 'package-lock.json'].map((name) => path.join(ROOT, name))
  for (const file of [...files, ...others].sort()) {
    // A file may vanish between the listing and here: then the print changes, which is right.
    const facts = statSync(file, { throwIfNoEntry: false })
    hash.update(`${path.relative(ROOT, file)}\0${facts?.size}\0${facts?.mtimeMs}\n`)
  }
  return hash.digest('hex').slice(0, 24)
}

/** `{build, fingerprint}` of the newest finished build, or undefined. */
export function readStamp() {
  try {
    const stamp = JSON.parse(readFileSync(STAMP, 'utf8'))
    return existsSync(path.join(DIST, stamp.build, 'postern.mjs')) ? stamp : undefined
  } catch {
    return undefined
  }
}

export { STAMP }
