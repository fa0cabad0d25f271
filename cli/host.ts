/** What the definition of a command needs, and the options that several commands share. */
import { AppError } from '../core/errors.ts'
import type { Cli } from './cli.ts'

export interface Host {
  readonly cli: Cli
  /** Sets the exit code when a command ended well but not with 0, as a remote command may. */
  exit(code: number): void
}

/** Which cluster a command talks to, and as whom. */
export interface ProfileOptions {
  readonly profile?: string | undefined
  readonly dataDir?: string | undefined
}
export const PROFILE = [
  '--profile <name-or-dir>',
  'profile to use (default: ./postern-data, else ~/.postern)',
] as const
export const DATA_DIR = ['--data-dir <dir>', 'use the profile of the cluster kept there'] as const
export const JSON_FLAG = ['--json', 'print JSON'] as const

/** Examples stand above everything else in --help. */
export const examples = (...lines: readonly string[]): string =>
  `Examples:\n${lines.map((line) => `  $ ${line}`).join('\n')}\n`

/** `env=prod` words as labels. */
export function labelWords(words: readonly string[], option: string): Record<string, string> {
  const labels: Record<string, string> = {}
  for (const word of words) {
    const at = word.indexOf('=')
    if (at < 1) throw new AppError('ERR_USAGE', `${option}: "${word}" is not of the form key=value`)
    labels[word.slice(0, at)] = word.slice(at + 1)
  }
  return labels
}
/** Words of a comma-separated option, empty ones left out. */
export const words = (text: string): string[] =>
  text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
