/**
 * Allow rules of tokens: a rule is a record of wanted values, a field says which claim it is about and how the two compare.
 * Inside a rule every field must fit; of several rules one must. All pure.
 */
import * as z from 'zod'
import { globMatches } from '../../glob.ts'
import { object, text, texts, type Claims } from './claims.ts'

/** How a wanted value and a claim compare. `glob`: `*` is any run of characters, `?` any one of them. */
type Compare = 'exact' | 'glob' | 'flag' | 'any'

export interface Field {
  readonly compare: Compare
  /** What the token says; several when any of them will do. */
  read(claims: Claims): readonly (string | undefined)[]
}
export type Fields = Readonly<Record<string, Field>>
export type Rule = Readonly<Record<string, unknown>>

const field =
  (compare: Compare) =>
  (claim: string): Field => ({ compare, read: (claims) => [text(claims, claim)] })

export const exact = field('exact')
export const glob = field('glob')
/** A rule says true or false; the claim is the text `true` or `false`. */
export const flag = field('flag')
/** The claim is a list, and one of it must fit. */
export const among = (claim: string): Field => ({
  compare: 'exact',
  read: (claims) => texts(claims, claim),
})
/** What is compared follows from several claims. */
export const derived = (
  read: (claims: Claims) => string | undefined,
  compare: Compare = 'exact',
): Field => ({ compare, read: (claims) => [read(claims)] })
/** The rule gives a list of values, and one of them must be what the token says. */
export const anyOf = (read: (claims: Claims) => readonly (string | undefined)[]): Field => ({
  compare: 'any',
  read,
})
export const inside = (outer: string, name: string) => (claims: Claims) =>
  text(object(claims, outer), name)

function fits(compare: Compare, wanted: unknown, value: string): boolean {
  switch (compare) {
    case 'exact':
    case 'flag':
      return value === String(wanted)
    case 'glob':
      return globMatches(String(wanted), value)
    case 'any':
      return Array.isArray(wanted) && wanted.includes(value)
  }
}

/** Whether the claims satisfy one rule. `globs: false` reads glob fields literally. A rule without fields satisfies nobody. */
export function matches(
  fields: Fields,
  rule: Rule,
  claims: Claims,
  options: { readonly globs: boolean } = { globs: true },
): boolean {
  const wanted = Object.entries(rule).filter(([, value]) => value !== undefined)
  if (wanted.length === 0) return false
  return wanted.every(([name, value]) => {
    const known = Object.hasOwn(fields, name) ? fields[name] : undefined
    if (!known) return false
    const compare = known.compare === 'glob' && !options.globs ? 'exact' : known.compare
    return known.read(claims).some((has) => has !== undefined && fits(compare, value, has))
  })
}

const value = z.string().min(1).max(512)
const VALUES: Readonly<Record<Compare, z.ZodType>> = {
  exact: value,
  glob: value,
  flag: z.boolean(),
  any: z.array(value).min(1).max(64),
}

/**
 * The schema of a rule. `needs`: of each group at least one field must be there, or the rule would let in strangers who use the
 * same issuer.
 */
export function ruleSchema(fields: Fields, needs: readonly (readonly string[])[]) {
  const shape = Object.fromEntries(
    Object.entries(fields).map(([name, { compare }]) => [name, VALUES[compare].optional()]),
  )
  return z.strictObject(shape).superRefine((rule: Rule, ctx) => {
    for (const group of needs)
      if (!group.some((name) => rule[name] !== undefined))
        ctx.addIssue({ code: 'custom', message: `name at least one of ${group.join(', ')}` })
    // A pattern of stars alone says nothing, however it is spelt.
    for (const [name, wanted] of Object.entries(rule))
      if (fields[name]?.compare === 'glob' && typeof wanted === 'string' && /^[*?]+$/.test(wanted))
        ctx.addIssue({ code: 'custom', path: [name], message: 'fits everything; leave it out' })
  })
}

export const rules = (fields: Fields, needs: readonly (readonly string[])[]) =>
  z.array(ruleSchema(fields, needs)).min(1, 'name at least one rule').max(100)
