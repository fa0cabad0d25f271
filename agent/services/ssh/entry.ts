/** Where the two programs of this service lie: bundled beside this module, or as sources beside it. */
import { fileURLToPath } from 'node:url'

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
