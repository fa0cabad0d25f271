/** Label matching and templates: the small pure pieces of a decision. */
import type { Labels, LabelSelector } from '../domain/name.ts'
import type { Traits } from '../domain/user.ts'

/** A pattern cut at its `*`s: `parts` has one entry when there is none. */
type Pattern = readonly string[]
const patternOf = (text: string): Pattern => text.split('*')

/**
 * Whether `text` matches, where `*` stands for any run of characters. Linear in both: never a regular expression, so that a role
 * cannot make an agent hang.
 */
function fits(pattern: Pattern, text: string): boolean {
  const first = pattern[0] ?? ''
  if (pattern.length === 1) return first === text
  const last = pattern[pattern.length - 1] ?? ''
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length)
    return false
  let at = first.length
  for (let i = 1; i < pattern.length - 1; i++) {
    const part = pattern[i] ?? ''
    const found = text.indexOf(part, at)
    if (found < 0 || found + part.length > text.length - last.length) return false
    at = found + part.length
  }
  return true
}
export const globMatches = (pattern: string, text: string): boolean =>
  fits(patternOf(pattern), text)

/** One key of a selector: its value is one of these, or fits a pattern. */
interface Condition {
  readonly key: string
  /** The pattern, when there is one and it has no `*`: the commonest case, and one comparison. */
  readonly only: string | undefined
  readonly patterns: readonly Pattern[]
}
/** All of them must hold. */
export type Conditions = readonly Condition[]

/** A selector taken apart; `'*': '*'` asks for nothing more. Undefined for a selector that matches nothing, as an empty one. */
export function conditionsOf(selector: LabelSelector): Conditions | undefined {
  const keys = Object.keys(selector)
  if (keys.length === 0) return undefined
  if (Object.hasOwn(selector, '*') && !selector['*']?.includes('*')) return undefined
  return (
    keys
      .filter((key) => key !== '*')
      .map((key): Condition => {
        const patterns = (selector[key] ?? []).map(patternOf)
        const [first] = patterns
        const exact = patterns.length === 1 && first?.length === 1
        return { key, only: exact ? first[0] : undefined, patterns }
      })
      // What a single comparison can rule out is asked first.
      .sort((a, b) => Number(a.only === undefined) - Number(b.only === undefined))
  )
}

function fitsOne(patterns: readonly Pattern[], value: string): boolean {
  for (const pattern of patterns) if (fits(pattern, value)) return true
  return false
}

export function conditionsHold(conditions: Conditions, labels: Labels): boolean {
  for (const { key, only, patterns } of conditions) {
    // A key such as `constructor` finds something on every object, but never a string.
    const value: unknown = labels[key]
    if (typeof value !== 'string') return false
    if (only !== undefined) {
      if (value !== only) return false
    } else if (!fitsOne(patterns, value)) return false
  }
  return true
}

/** Logins of a role taken apart: names as they are, and the traits that fill in others. */
export interface LoginRules {
  readonly names: readonly string[]
  readonly traits: readonly string[]
}

const TEMPLATE = /^\{\{(internal|external)\.(.+)\}\}$/
const LOGIN = /^[a-z_][a-z0-9_.-]{0,31}$/i

/** `{{internal.logins}}` and `{{external.<trait>}}` name traits; another internal one names nothing. */
export function loginRules(templates: readonly string[]): LoginRules {
  const names: string[] = []
  const traits: string[] = []
  for (const text of templates) {
    const [, space, name] = TEMPLATE.exec(text) ?? []
    if (name === undefined) names.push(text)
    else if (space === 'external' || name === 'logins') traits.push(name)
  }
  return { names, traits }
}

const traitValues = (traits: Traits, name: string): readonly string[] =>
  Object.hasOwn(traits, name) ? (traits[name] ?? []) : []

/** Every login the rules come to; a trait the user lacks fills in nothing, nor does a value that is no unix login. */
export const loginsOf = (rules: LoginRules, traits: Traits): string[] => [
  ...rules.names,
  ...rules.traits.flatMap((name) => traitValues(traits, name).filter((v) => LOGIN.test(v))),
]

export function holdsLogin(rules: LoginRules, traits: Traits, login: string): boolean {
  if (rules.names.includes(login)) return true
  for (const name of rules.traits)
    if (traitValues(traits, name).includes(login) && LOGIN.test(login)) return true
  return false
}

export const fillLogins = (templates: readonly string[], traits: Traits): string[] =>
  loginsOf(loginRules(templates), traits)
