/** Label matching and templates: the small pure pieces of a decision. */
import type { Labels, LabelSelector } from '../domain/name.ts'
import type { Traits } from '../domain/user.ts'

/**
 * Whether `text` matches `pattern`, where `*` stands for any run of characters. Linear in both: never a regular expression, so
 * that a role cannot make an agent hang.
 */
export function globMatches(pattern: string, text: string): boolean {
  if (!pattern.includes('*')) return pattern === text
  const parts = pattern.split('*')
  const first = parts[0] ?? ''
  const last = parts.at(-1) ?? ''
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length)
    return false
  let at = first.length
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at)
    if (found < 0 || found + part.length > text.length - last.length) return false
    at = found + part.length
  }
  return true
}

/** Every key of the selector must match; `'*': '*'` matches everything. An absent or empty selector matches nothing. */
export function labelsMatch(selector: LabelSelector | undefined, labels: Labels): boolean {
  if (!selector) return false
  const keys = Object.keys(selector)
  if (keys.length === 0) return false
  return keys.every((key) => {
    const patterns = selector[key] ?? []
    if (key === '*') return patterns.includes('*')
    if (!Object.hasOwn(labels, key)) return false
    const value = labels[key] ?? ''
    return patterns.some((pattern) => globMatches(pattern, value))
  })
}

/** Fills `{{internal.logins}}` and `{{external.<trait>}}`; a trait the user lacks fills in nothing. */
export function fillLogins(templates: readonly string[], traits: Traits): string[] {
  return templates.flatMap((text) => {
    const match = /^\{\{(internal|external)\.(.+)\}\}$/.exec(text)
    if (!match) return [text]
    const [, space, name = ''] = match
    if (space === 'internal' && name !== 'logins') return []
    const values = Object.hasOwn(traits, name) ? (traits[name] ?? []) : []
    return values.filter((v) => /^[a-z_][a-z0-9_.-]{0,31}$/i.test(v))
  })
}
