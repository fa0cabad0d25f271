/** Names and labels: the character sets that make them safe in URIs, certificates, config files and shells. */
import * as z from 'zod'
import { LIMITS } from '../limits.ts'

const MAX = LIMITS.nameLength.value
const NAME = new RegExp(`^[a-z0-9]([a-z0-9.-]{0,${MAX - 2}}[a-z0-9])?$`)

/** Node, app, database and cluster names (protocols.md 1.6). */
export const resourceName = z
  .string()
  .regex(
    NAME,
    `use 1 to ${MAX} of a-z, 0-9, "." and "-", starting and ending with a letter or digit`,
  )
export const isResourceName = (text: string): boolean => NAME.test(text)

/** User names: mail addresses fit. */
export const userName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$/,
    'use 1 to 128 letters, digits and ". _ @ + -", starting with a letter or digit',
  )

/** Names of tokens, roles and locks: readable handles. */
export const handleName = z
  .string()
  .regex(
    /^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$/,
    'use 1 to 128 letters, digits and ". _ -", starting and ending with a letter or digit',
  )

/** A unix login as useradd would accept it. */
export const unixLogin = z
  .string()
  .regex(/^[a-z_][a-z0-9_.-]{0,31}$/i, 'use a unix user name (at most 32 characters)')

const labelKey = z
  .string()
  .min(1)
  .max(LIMITS.labelKey.value)
  .regex(/^[A-Za-z0-9_./-]+$/, 'use letters, digits and "_ . / -"')
  .refine((key) => key !== '__proto__', 'this word is reserved')
const labelText = z
  .string()
  .max(LIMITS.labelValue.value)
  .regex(/^[^\u0000-\u001f\u007f]*$/, 'no control characters')

/** Labels of a resource: one text for each key. */
export const labels = z
  .record(labelKey, labelText)
  .refine(
    (l) => Object.keys(l).length <= LIMITS.labels.value,
    `at most ${LIMITS.labels.value} labels`,
  )
export type Labels = Readonly<Record<string, string>>

/** Label selectors of roles and tokens: one text or a list for each key; `*` in a text matches any run of characters. */
export const labelSelector = z
  .record(
    z.union([z.literal('*'), labelKey]),
    z.union([labelText.transform((text) => [text]), z.array(labelText).min(1).max(64)]),
  )
  .refine(
    (l) => Object.keys(l).length <= LIMITS.labels.value,
    `at most ${LIMITS.labels.value} labels`,
  )
export type LabelSelector = Readonly<Record<string, readonly string[]>>

/** What a token says about the labels of its agents. */
export interface TokenLabels {
  /** Stronger than the agent's own. */
  readonly forced: Labels
  /** For keys that the agent does not label itself. */
  readonly suggested: Labels
}

/** The labels that count, out of an agent's own and those of its token. */
export const withTokenLabels = (own: Labels, { forced, suggested }: TokenLabels): Labels => ({
  ...suggested,
  ...own,
  ...forced,
})

/** Of a selector, as tokens have it, one value for each key: all of them with spaces between, as Teleport's install scripts do. */
export const joinedValues = (selector: LabelSelector): Labels =>
  Object.fromEntries(Object.entries(selector).map(([key, values]) => [key, values.join(' ')]))
