/** Where the two programs of this service lie: bundled beside this module, or as sources beside it. */
import { fileURLToPath, pathToFileURL } from 'node:url'

export interface Entry {
  readonly file: string
  /** What node needs before the file's name. */
  readonly execArgv: readonly string[]
}

/** `name` is that of the source file without `.main.ts`; the bundler keeps it. */
export function entryOf(name: 'ssh-worker' | 'ssh-session-helper'): Entry {
  const here = import.meta.url
  if (here.endsWith('.mjs'))
    return { file: fileURLToPath(new URL(`./${name}.mjs`, here)), execArgv: [] }
  return sourceEntry(fileURLToPath(new URL(`./${name}.main.ts`, here)))
}

/** A file given by its path: sources need the loader that reads TypeScript. */
export function sourceEntry(file: string): Entry {
  const execArgv = file.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : []
  return { file, execArgv }
}

/** What a thread runs to run this entry. `--import` does not reach threads, so sources register their loader themselves. */
export function workerCode(entry: Entry): { readonly code: string; readonly isText: boolean } {
  if (!entry.file.endsWith('.ts')) return { code: entry.file, isText: false }
  const loader = JSON.stringify(import.meta.resolve('tsx/esm/api'))
  const source = JSON.stringify(pathToFileURL(entry.file).href)
  const code = `import(${loader}).then((tsx) => { tsx.register(); return import(${source}) })`
  return { code, isText: true }
}
