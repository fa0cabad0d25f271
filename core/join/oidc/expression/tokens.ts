/** The words of an expression: names, texts and signs. */
import { AppError } from '../../../errors.ts'
import { LIMITS } from '../../../limits.ts'

export type Word =
  | { readonly kind: 'name'; readonly text: string }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'sign'; readonly text: string }

/** Throws ERR_INPUT_INVALID; the message is for whoever wrote the token file. */
export const malformed = (message: string): AppError => new AppError('ERR_INPUT_INVALID', message)

const SPACE = /[ \t\r\n]*/y
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y
const SIGN = /==|!=|&&|\|\||[!().,[\]]/y
/** Two kinds of quotes, as in Go: one knows the escapes of JSON, the other none. */
const TEXT = /"(?:[^"\\\n]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"|`[^`]*`/y

const at = (pattern: RegExp, text: string, from: number): string | undefined => {
  pattern.lastIndex = from
  return pattern.exec(text)?.[0]
}

function unknown(text: string, from: number): AppError {
  const rest = text.slice(from, from + 20)
  if (/^[0-9]/.test(rest))
    return malformed('numbers are not compared in expressions; use conditions or must_match_fields')
  if (/^["`']/.test(rest)) return malformed(`a text that is not closed, at ${rest}`)
  if (/^[&|=<>+*/-]/.test(rest))
    return malformed(`no operator of expressions is at ${rest}: they are == != && || !`)
  return malformed(`not understood at ${rest}`)
}

export function wordsOf(text: string): readonly Word[] {
  if (text.length > LIMITS.expressionLength.value)
    throw malformed(`longer than ${LIMITS.expressionLength.value} characters`)
  const words: Word[] = []
  let from = (at(SPACE, text, 0) ?? '').length
  while (from < text.length) {
    const name = at(NAME, text, from)
    const sign = name === undefined ? at(SIGN, text, from) : undefined
    const quoted = name === undefined && sign === undefined ? at(TEXT, text, from) : undefined
    const found = name ?? sign ?? quoted
    if (found === undefined) throw unknown(text, from)
    if (quoted !== undefined)
      words.push({
        kind: 'text',
        text: quoted.startsWith('`') ? quoted.slice(1, -1) : (JSON.parse(quoted) as string),
      })
    else words.push({ kind: name === undefined ? 'sign' : 'name', text: found })
    from += found.length
    from += (at(SPACE, text, from) ?? '').length
  }
  return words
}
