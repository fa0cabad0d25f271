/**
 * How deep a YAML text nests, told before it is parsed: a parser that calls itself for each level takes seconds for some hundred bytes
 * of `? ? ? …` (400 levels: 5 s) and runs out of stack for some thousand brackets.
 */
import { LIMITS } from './limits.ts'

const MOST = LIMITS.yamlNesting.value
/** Levels that begin on one line: `- - - x`, `? ? ? x`. */
const ON_ONE_LINE = new RegExp(`(?:[-?][ \\t]+){${MOST + 1}}`)

/** True: it nests deeper than anybody's file does, and is not to be parsed. Brackets in quotes count too. */
export function nestsTooDeep(text: string): boolean {
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (c === '[' || c === '{') depth += 1
    else if ((c === ']' || c === '}') && depth > 0) depth -= 1
    if (depth > MOST) return true
  }
  return ON_ONE_LINE.test(text)
}
