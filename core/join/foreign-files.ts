/**
 * Token files as they are written for Teleport, in our words: before the schema, so that the schema has one way of saying a thing.
 * Nothing is guessed; what we lack is left as it is, and refused by its name.
 */

type Fields = Readonly<Record<string, unknown>>

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** There an empty text or list is the same as a field that is not given. */
const isGiven = (value: unknown): boolean =>
  value !== '' && !(Array.isArray(value) && value.length === 0)

const given = (fields: Fields): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => isGiven(value)))

/** Ids that are all digits are written without quotes, and are read as numbers then. */
const asText = (value: unknown): unknown => (Number.isSafeInteger(value) ? String(value) : value)

function rule(value: unknown): unknown {
  if (!isFields(value)) return value
  return Object.fromEntries(Object.entries(given(value)).map(([name, v]) => [name, asText(v)]))
}

/** Rules whose values are texts or lists of texts. An `allow` list that is empty is left, to be refused by its name. */
const withRules = (block: Fields): Fields =>
  Array.isArray(block['allow'])
    ? { ...given(block), allow: (block['allow'] as unknown[]).map(rule) }
    : given(block)

/** In these an empty text is a value like others. */
const LITERAL = new Set(['must_match_fields', 'allow_any'])

function block(name: string, value: unknown): unknown {
  if (!isFields(value)) return value
  if (name === 'bound_keypair')
    return Object.fromEntries(
      Object.entries(given(value)).map(([k, v]) => [k, isFields(v) ? given(v) : v]),
    )
  const literal = Object.entries(value).filter(([key]) => LITERAL.has(key))
  return { ...withRules(value), ...Object.fromEntries(literal) }
}

/** Fields of a spec that are maps of the operator's own words. */
const OWN_WORDS = new Set(['suggested_labels', 'suggested_agent_matcher_labels', 'forced_labels'])

/** The document with its `spec` in our words; anything that is no token file is left as it is. */
export function inOurWords(document: unknown): unknown {
  if (!isFields(document) || !isFields(document['spec'])) return document
  const { generic_oidc: oidc, ...rest } = document['spec']
  const renamed =
    oidc === undefined || rest['join_method'] !== 'generic_oidc'
      ? document['spec']
      : { ...rest, join_method: 'oidc', oidc }
  const { allow } = renamed
  const spec = {
    ...Object.fromEntries(
      Object.entries(given(renamed)).map(([name, value]) => [
        name,
        OWN_WORDS.has(name) ? value : block(name, value),
      ]),
    ),
    // Account numbers stay as they were written: one without quotes has lost its leading zeros.
    ...(allow === undefined
      ? {}
      : {
          allow: Array.isArray(allow)
            ? allow.map((r) => (isFields(r) ? given(r) : (r as unknown)))
            : allow,
        }),
    ...(renamed['roles'] === undefined ? {} : { roles: renamed['roles'] }),
  }
  return { ...document, spec }
}
