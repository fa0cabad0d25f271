/** Patterns as AWS and CI platforms have them; the rules of tokens and connectors are written in them. */

/**
 * Whether `value` matches: `*` stands for any run of characters, `?` for any one. Steps back to the last star only, so it takes
 * the product of both lengths at most: a regular expression made of somebody's `*a*a*a*` would not end.
 */
export function globMatches(pattern: string, value: string): boolean {
  let p = 0
  let v = 0
  let star = -1
  let resume = 0
  while (v < value.length) {
    if (pattern[p] === '*') {
      star = p++
      resume = v
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === value[v])) {
      p++
      v++
    } else if (star >= 0) {
      p = star + 1
      v = ++resume
    } else return false
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}
