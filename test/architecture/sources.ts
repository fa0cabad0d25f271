/** Reads our own sources for the tests of this folder: files, their imports, their folders. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'

export interface SourceFile {
  readonly path: string
  readonly text: string
  readonly imports: readonly { readonly from: string; readonly typeOnly: boolean }[]
}

export const ROOMS = ['core', 'net', 'functions', 'proxy', 'agent', 'cli', 'infra'] as const
export type Room = (typeof ROOMS)[number]

/** Files that git knows or would add; nothing ignored. */
export function listFiles(): string[] {
  return execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    encoding: 'utf8',
  })
    .split('\n')
    .filter(Boolean)
}

const IMPORT =
  /(?:^|\n)\s*(import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/g

export function readSource(path: string): SourceFile {
  const text = readFileSync(path, 'utf8')
  const imports = [...text.matchAll(IMPORT)].map((m) => {
    const from = m[3] ?? m[4] ?? ''
    return {
      from: from.startsWith('.') ? normalize(join(dirname(path), from)) : from,
      typeOnly: m[2] !== undefined,
    }
  })
  return { path, text, imports }
}

let cached: SourceFile[] | undefined
export function sources(): SourceFile[] {
  cached ??= listFiles()
    .filter(
      (f) =>
        f.endsWith('.ts') && !f.endsWith('.d.ts') && ROOMS.some((room) => f.startsWith(`${room}/`)),
    )
    .map(readSource)
  return cached
}

export const roomOf = (path: string): Room | undefined =>
  ROOMS.find((room) => path.startsWith(`${room}/`))
