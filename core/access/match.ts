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
  let some = false
  // No list of keys is made: a user with a hundred roles asks this a few hundred times for one stream.
  for (const key in selector) {
    if (!Object.hasOwn(selector, key)) continue
    some = true
    const patterns = selector[key] ?? []
    if (key === '*') {
      if (!patterns.includes('*')) return false
      continue
    }
    if (!Object.hasOwn(labels, key)) return false
    const value = labels[key] ?? ''
    if (!patterns.some((pattern) => globMatches(pattern, value))) return false
  }
  return some
}

/** Fills `{{internal.logins}}` and `{{external.<trait>}}`; a trait the user lacks fills in nothing. */
export function fillLogins(templates: readonly string[], traits: Traits): string[] {
  return templates.flatMap((text) => {
    if (!text.startsWith('{{')) return [text]
    const match = /^\{\{(internal|external)\.(.+)\}\}$/.exec(text)
    if (!match) return [text]
    const [, space, name = ''] = match
    if (space === 'internal' && name !== 'logins') return []
    const values = Object.hasOwn(traits, name) ? (traits[name] ?? []) : []
    return values.filter((v) => /^[a-z_][a-z0-9_.-]{0,31}$/i.test(v))
  })
}

/** Whether the filled templates hold this login. */
export const holdsLogin = (templates: readonly string[], traits: Traits, login: string): boolean =>
  templates.some((text) =>
    text.startsWith('{{') ? fillLogins([text], traits).includes(login) : text === login,
  )
