/** What a doctor writes down: each check once, ok, warn, fail or skipped, and how it is put right. */
import {
  AppError,
  isAppError,
  toAppError,
  type ErrorCode,
  type ExitCode,
} from '../../core/errors.ts'
import type { Cli } from '../cli.ts'
import { painter, safeText, type Style } from '../ui/style.ts'

export type Status = 'ok' | 'warn' | 'fail' | 'skip'

export interface Finding {
  readonly check: string
  /** What was looked at: an address, a file, a resource. */
  readonly target: string
  readonly status: Status
  readonly detail: string
  /** What to do; there unless all is well. */
  readonly fix?: string | undefined
}

/** Thrown by a check: it knows what is wrong and what to do. */
export class Problem extends Error {
  readonly status: 'warn' | 'fail'
  readonly fix: string
  readonly code: ErrorCode
  constructor(
    detail: string,
    fix: string,
    options: { readonly warn?: boolean; readonly code?: ErrorCode; readonly cause?: unknown } = {},
  ) {
    super(detail, { cause: options.cause })
    this.status = options.warn === true ? 'warn' : 'fail'
    this.fix = fix
    this.code = options.code ?? codeOf(options.cause)
  }
}
const codeOf = (cause: unknown): ErrorCode => (isAppError(cause) ? cause.code : 'ERR_INTERNAL')
export const warning = (detail: string, fix: string): Problem =>
  new Problem(detail, fix, { warn: true })

export interface Examination {
  /**
   * Runs one check. `work` answers what it saw, or throws. It is skipped when one that it needs went wrong.
   * Answers whether later checks may build on it.
   */
  check(
    name: string,
    target: string,
    work: () => string | Promise<string>,
    needs?: readonly boolean[],
  ): Promise<boolean>
  readonly findings: readonly Finding[]
  /** That of the first failure. */
  readonly exitCode: 0 | ExitCode
}

const STYLES: Readonly<Record<Status, Style>> = {
  ok: 'green',
  warn: 'cyan',
  fail: 'red',
  skip: 'dim',
}

export function createExamination(cli: Cli, json: boolean): Examination {
  const findings: Finding[] = []
  const paint = painter(cli.stdout, cli.env.noColor)
  let exitCode: 0 | ExitCode = 0

  function show({ check, target, status, detail, fix }: Finding): void {
    if (json) return
    const head = paint(STYLES[status], status.padEnd(4))
    cli.out(
      `${head}  ${check.padEnd(12)}  ${safeText(target === '' ? detail : `${target}: ${detail}`)}`,
    )
    if (fix !== undefined) cli.out(`                    ${paint('bold', 'fix:')} ${safeText(fix)}`)
  }
  function note(finding: Finding): void {
    findings.push(finding)
    show(finding)
  }

  function failed(check: string, target: string, e: unknown): boolean {
    const problem =
      e instanceof Problem
        ? e
        : new Problem(toAppError(e).message, toAppError(e).kind.hint, { cause: toAppError(e) })
    note({ check, target, status: problem.status, detail: problem.message, fix: problem.fix })
    if (problem.status === 'warn') return true
    if (exitCode === 0) exitCode = new AppError(problem.code).kind.exitCode
    return false
  }

  return {
    findings,
    get exitCode() {
      return exitCode
    },
    async check(name, target, work, needs = []) {
      if (needs.includes(false)) {
        note({
          check: name,
          target,
          status: 'skip',
          detail: 'not looked at: an earlier check failed',
        })
        return false
      }
      try {
        note({ check: name, target, status: 'ok', detail: await work() })
        return true
      } catch (e) {
        return failed(name, target, e)
      }
    },
  }
}
