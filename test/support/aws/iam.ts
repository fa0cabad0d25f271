/**
 * Evaluates IAM identity policies as the IAM user guide describes it ("Policy evaluation logic"): an explicit deny wins, an allow is
 * needed, everything else is refused. Knows the operators that our templates use and throws for any other, so that a policy which it
 * cannot judge is never taken for harmless. Keeps account of which grants were ever needed.
 */
export interface Statement {
  readonly Sid?: string
  readonly Effect: 'Allow' | 'Deny'
  readonly Action?: string | readonly string[]
  readonly NotAction?: string | readonly string[]
  readonly Resource?: string | readonly string[]
  readonly NotResource?: string | readonly string[]
  readonly Condition?: Readonly<
    Record<string, Readonly<Record<string, string | readonly string[]>>>
  >
}
export interface IamRequest {
  readonly action: string
  readonly resource: string
  /** Condition keys that the request has, each with its values. */
  readonly context: Readonly<Record<string, readonly string[]>>
}
export type Verdict = 'allowed' | 'explicitly denied' | 'not allowed'

const list = (value: string | readonly string[] | undefined): readonly string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value

/** `*` any text, `?` any character. */
export function matches(pattern: string, text: string): boolean {
  const source = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`)
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${source}$`, 's').test(text)
}
const sameAction = (pattern: string, action: string): boolean =>
  matches(pattern.toLowerCase(), action.toLowerCase())
/** ARNs are compared part by part: a wildcard does not reach over a colon of the first five parts. */
function sameArn(pattern: string, arn: string): boolean {
  if (pattern === '*') return true
  const cut = (text: string) => {
    const parts = text.split(':')
    return [...parts.slice(0, 5), parts.slice(5).join(':')]
  }
  const [a, b] = [cut(pattern), cut(arn)]
  return a.length === b.length && a.every((part, i) => matches(part, b[i] ?? ''))
}

type Compare = (wanted: string, given: string) => boolean
const OPERATORS: Readonly<Record<string, { readonly compare: Compare; readonly negated?: true }>> =
  {
    StringEquals: { compare: (wanted, given) => wanted === given },
    StringNotEquals: { compare: (wanted, given) => wanted === given, negated: true },
    StringLike: { compare: matches },
    StringNotLike: { compare: matches, negated: true },
    ArnEquals: { compare: sameArn },
    ArnLike: { compare: sameArn },
    Bool: { compare: (wanted, given) => wanted.toLowerCase() === given.toLowerCase() },
  }

function holds(
  operator: string,
  wanted: readonly string[],
  given: readonly string[] | undefined,
): boolean {
  if (operator === 'Null') return wanted.every((w) => (w === 'true') === (given === undefined))
  const [, set, name = '', ifExists] =
    /^(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?$/.exec(operator) ?? []
  const known = OPERATORS[name]
  if (!known) throw new Error(`condition operator ${operator} is not known here`)
  const one = (value: string): boolean =>
    wanted.some((w) => known.compare(w, value)) !== (known.negated ?? false)
  if (given === undefined)
    return set === 'ForAllValues' || ifExists !== undefined || known.negated === true
  if (set === 'ForAllValues') return given.every(one)
  if (set === 'ForAnyValue') return given.some(one)
  if (given.length !== 1) return false
  return given.every(one)
}

function applies(statement: Statement, request: IamRequest): boolean {
  const actions = list(statement.Action)
  const resources = list(statement.Resource)
  const named = statement.NotAction
    ? !list(statement.NotAction).some((a) => sameAction(a, request.action))
    : actions.some((a) => sameAction(a, request.action))
  const on = statement.NotResource
    ? !list(statement.NotResource).some((r) => sameArn(r, request.resource))
    : resources.some((r) => sameArn(r, request.resource))
  return (
    named &&
    on &&
    Object.entries(statement.Condition ?? {}).every(([operator, keys]) =>
      Object.entries(keys).every(([key, wanted]) =>
        holds(operator, list(wanted), request.context[key]),
      ),
    )
  )
}

export function evaluate(statements: readonly Statement[], request: IamRequest): Verdict {
  const found = statements.filter((statement) => applies(statement, request))
  if (found.some((s) => s.Effect === 'Deny')) return 'explicitly denied'
  return found.length > 0 ? 'allowed' : 'not allowed'
}

/** Grants wide enough to be a surprise: whole services, or every resource. */
export const wideGrants = (statements: readonly Statement[]): string[] =>
  statements
    .filter((s) => s.Effect === 'Allow')
    .flatMap((s) => [
      ...list(s.Action).filter((a) => a.includes('*')),
      ...list(s.Resource).filter((r) => r === '*' || /^arn:[^:]*:[^:]*:[^:]*:[^:]*:\*?$/.test(r)),
      ...(s.NotAction ? ['NotAction'] : []),
      ...(s.NotResource ? ['NotResource'] : []),
    ])

const LEADING = 'dynamodb:LeadingKeys'
/** Each action of a statement, with each key prefix that it names. */
function grantsOf(statement: Statement): { action: string; key: string | undefined }[] {
  const keys = Object.values(statement.Condition ?? {}).flatMap((c) => list(c[LEADING]))
  const patterns = keys.filter((k) => k !== 'true' && k !== 'false')
  return list(statement.Action).flatMap((action) =>
    (patterns.length === 0 ? [undefined] : patterns).map((key) => ({ action, key })),
  )
}

const READS = new Set(['GetItem', 'BatchGetItem', 'Query'])
const WRITES = new Set(['PutItem', 'UpdateItem', 'DeleteItem', 'BatchWriteItem'])

/**
 * What a role was granted and none of these requests needed: actions, and of the table the keys that were never read or never written,
 * as `kms:Sign`, `read LOCK#*`.
 */
export function unusedGrants(
  statements: readonly Statement[],
  requests: readonly IamRequest[],
): string[] {
  const unused = new Map<string, boolean>()
  for (const { action, key } of statements.filter((s) => s.Effect === 'Allow').flatMap(grantsOf)) {
    const name = action.replace('dynamodb:', '')
    const way = READS.has(name) ? 'read' : WRITES.has(name) ? 'write' : undefined
    if (key !== undefined && way === undefined) continue
    const used = requests.some(
      (r) =>
        sameAction(action, r.action) &&
        (key === undefined || (r.context[LEADING] ?? []).some((given) => matches(key, given))),
    )
    const grant = key === undefined ? action : `${way} ${key}`
    unused.set(grant, (unused.get(grant) ?? true) && !used)
  }
  return [...unused].flatMap(([grant, never]) => (never ? [grant] : [])).sort()
}
