/** From unknown input to a parsed value, or one error that names every wrong field by its path. */
import type * as z from 'zod'
import { AppError, type ErrorCode, type FieldIssue } from './errors.ts'

interface IssueLike {
  readonly code: string
  readonly path: readonly PropertyKey[]
  readonly message: string
  readonly keys?: readonly string[]
}

/** Field names a user may know from elsewhere, and what to use here instead. Keyed by the last part of the path. */
export type Suggestions = Readonly<Record<string, string>>

function fieldIssues(issues: readonly IssueLike[], suggest: Suggestions): FieldIssue[] {
  return issues.flatMap((issue) => {
    const path = issue.path.map(String)
    if (issue.code === 'unrecognized_keys')
      return (issue.keys ?? []).map((key) => ({
        path: [...path, key].join('.'),
        message: suggest[key] ?? 'unknown field',
      }))
    return [{ path: path.join('.') || '(document)', message: issue.message }]
  })
}

/**
 * Parses `input` with `schema`. Throws `code` (ERR_INPUT_INVALID unless told otherwise) whose message names the first
 * wrong field and whose details name all of them (at most 20).
 */
export function parse<S extends z.ZodType>(
  schema: S,
  input: unknown,
  options: { code?: ErrorCode; suggest?: Suggestions } = {},
): z.output<S> {
  const result = schema.safeParse(input)
  if (result.success) return result.data
  const issues = fieldIssues(result.error.issues, options.suggest ?? {}).slice(0, 20)
  const first = issues[0]
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : ''
  throw new AppError(
    options.code ?? 'ERR_INPUT_INVALID',
    first ? `${first.path}: ${first.message}${more}` : undefined,
    { details: { issues } },
  )
}
