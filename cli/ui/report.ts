/** From a failure to what a person reads: `error:`, the wrong fields, `hint:`, and the exit code of the contract. */
import { appendFileSync, mkdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { iso } from '../../core/clock.ts'
import { AppError, isAppError, reasonOf, toAppError, type ExitCode } from '../../core/errors.ts'
import type { Cli } from '../cli.ts'
import { painter, safeText } from './style.ts'

/** An error with a hint that fits better than the one of its code. */
export class HintedError extends AppError {
  readonly hint: string
  constructor(error: AppError, hint: string) {
    super(error.code, error.message, {
      cause: error,
      ...(error.details && { details: error.details }),
      ...(error.internal !== undefined && { internal: error.internal }),
    })
    this.hint = hint
  }
}
export const usage = (message: string, hint?: string): AppError => {
  const error = new AppError('ERR_USAGE', message)
  return hint === undefined ? error : new HintedError(error, hint)
}

const LOG_MAX = 1024 * 1024

/** Keeps the stack of what nobody expected, for a bug report. Answers where, or undefined when even that fails. */
function keepStack(cli: Cli, error: unknown): string | undefined {
  const file = path.join(cli.home, 'error.log')
  try {
    mkdirSync(cli.home, { recursive: true, mode: 0o700 })
    if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > LOG_MAX) return file
    const stack = error instanceof Error ? stackOf(error) : String(error)
    appendFileSync(file, `${iso(cli.clock.now())} ${stack}\n`, { mode: 0o600 })
    return file
  } catch {
    return undefined
  }
}
const stackOf = (error: Error): string =>
  error.cause instanceof Error
    ? `${error.stack ?? error.message}\ncaused by ${stackOf(error.cause)}`
    : (error.stack ?? error.message)

/** Writes the failure to stderr and answers the exit code. */
export function report(cli: Cli, failure: unknown): ExitCode {
  const error = toAppError(failure)
  const paint = painter(cli.stderr, cli.env.noColor)
  const kind = error.kind
  const line = (label: 'error' | 'hint', text: string) =>
    cli.note(`${paint(label === 'error' ? 'red' : 'dim', `${label}:`)} ${safeText(text)}`)

  line('error', error.message)
  const issues = error.details?.issues ?? []
  if (issues.length > 1)
    for (const issue of issues) cli.note(`  ${safeText(`${issue.path}: ${issue.message}`)}`)
  if (error.code === 'ERR_INTERNAL' && !isAppError(failure)) {
    const file = keepStack(cli, failure)
    line('hint', file ? `the details are in ${file}` : kind.hint)
  } else {
    line('hint', error instanceof HintedError ? error.hint : kind.hint)
  }
  if (cli.env.debug) {
    cli.note(`${error.code} ${safeText(reasonOf(error))}`)
    if (failure instanceof Error) cli.note(stackOf(failure))
  }
  return kind.exitCode
}
