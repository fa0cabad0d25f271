/**
 * Remembers parsed condition expressions. dynalite parses each anew, which took a third of a join's time, although the program
 * only ever sends a few dozen texts. What depends on the values themselves (BETWEEN's bounds, attribute_type) is parsed
 * every time; everything else depends on the text, the names and the types of the values alone.
 */
import parser, { type ParseOptions } from 'dynalite/db/conditionParser.js'
import { validation } from './exceptions.ts'
import { isRecord } from './is-record.ts'

interface Remembered {
  readonly parsed: unknown
  /** Which value object of the remembered tree stands for which placeholder. */
  readonly places: ReadonlyMap<unknown, string>
  readonly usedNames: readonly string[]
  readonly usedValues: readonly string[]
}

/** More than the program has; reached only by a foreign client, and then it starts over. */
const MOST = 500
const LONGEST = 1000
const DEPENDS_ON_VALUES = /between|attribute_type/i

const typeOf = (value: unknown): string => (isRecord(value) ? Object.keys(value).join() : '?')

function keyOf(text: string, { attrNames, attrVals }: ParseOptions['context']): string | undefined {
  if (text.length > LONGEST || DEPENDS_ON_VALUES.test(text)) return undefined
  const types = Object.entries(attrVals ?? {}).map(([name, value]) => `${name}${typeOf(value)}`)
  return JSON.stringify([text, Object.entries(attrNames ?? {}), types])
}

/** The tree with the values of this request in the places of the remembered ones. */
function filled(
  node: unknown,
  places: Remembered['places'],
  values: Record<string, unknown>,
): unknown {
  const name = places.get(node)
  if (name !== undefined) return values[name]
  if (Array.isArray(node)) return node.map((inner: unknown) => filled(inner, places, values))
  if (!isRecord(node)) return node
  // Without a prototype, as the parser makes them: they are asked about attributes of any name.
  const copy = Object.create(null) as Record<string, unknown>
  for (const [key, inner] of Object.entries(node)) copy[key] = filled(inner, places, values)
  return copy
}

const NOTHING: Remembered['places'] = new Map()
const flags = (of: Readonly<Record<string, unknown>> | undefined): Record<string, boolean> =>
  Object.fromEntries(Object.keys(of ?? {}).map((name) => [name, true]))

const COMPARISONS: ReadonlySet<unknown> = new Set(['=', '<>', 'in'])
const isNested = (value: unknown): boolean =>
  isRecord(value) && Object.keys(value).length === 1 && ('L' in value || 'M' in value)

/** DynamoDB compares lists and maps by their contents; this engine would find them different, always. Better no answer than that one. */
function refuseNested(node: unknown): void {
  if (Array.isArray(node)) return node.forEach(refuseNested)
  if (!isRecord(node)) return
  const { type, args } = node
  if (COMPARISONS.has(type) && Array.isArray(args) && args.flat().some(isNested))
    throw validation('the embedded engine compares no lists and no maps: compare what is in them')
  for (const inner of Object.values(node)) refuseNested(inner)
}

/** Puts the memory in front of dynalite's parser, once for the process. */
export function rememberConditions(): void {
  const known = new Map<string, Remembered>()
  const parse = parser.parse.bind(parser)
  parser.parse = (text, options) => {
    const { context } = options
    const key = keyOf(text, context)
    if (key === undefined) {
      const parsed = parse(text, options)
      refuseNested(parsed)
      return parsed
    }
    const unusedNames = context.unusedAttrNames ?? {}
    const unusedValues = context.unusedAttrVals ?? {}
    const values = context.attrVals ?? {}
    const hit = known.get(key)
    if (hit) {
      for (const name of hit.usedNames) delete unusedNames[name]
      for (const name of hit.usedValues) delete unusedValues[name]
      return filled(hit.parsed, hit.places, values)
    }
    // Asked afresh what this text uses: another expression of the request may have used the same before.
    const restNames = flags(context.attrNames)
    const restValues = flags(values)
    const parsed = parse(text, {
      ...options,
      context: { ...context, unusedAttrNames: restNames, unusedAttrVals: restValues },
    })
    const usedNames = Object.keys(context.attrNames ?? {}).filter((name) => !(name in restNames))
    const usedValues = Object.keys(values).filter((name) => !(name in restValues))
    for (const name of usedNames) delete unusedNames[name]
    for (const name of usedValues) delete unusedValues[name]
    // A text is the parser's refusal: not worth remembering.
    if (!isRecord(parsed)) return parsed
    refuseNested(parsed)
    if (known.size >= MOST) known.clear()
    known.set(key, {
      parsed,
      places: new Map(Object.entries(values).map(([name, value]) => [value, name])),
      usedNames,
      usedValues,
    })
    return filled(parsed, NOTHING, {})
  }
}
