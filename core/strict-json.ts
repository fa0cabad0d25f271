/**
 * JSON as RFC 8259 has it, minus what two readers could read differently: a key named twice, bytes that are not UTF-8, nesting
 * without end. JSON.parse decides what is JSON; the scan before it refuses the rest.
 */
import { AppError } from './errors.ts'
import { LIMITS } from './limits.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const refuse = (message: string): AppError =>
  new AppError('ERR_INPUT_INVALID', `(document): ${message}`, {
    details: { issues: [{ path: '(document)', message }] },
  })

/** End of the string that starts at `at` (a quote): the index of its closing quote. */
function stringEnd(text: string, at: number): number {
  for (let i = at + 1; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === 0x5c) i++
    else if (c === 0x22) return i
  }
  throw refuse('not JSON: a string does not end')
}

/** Whether the string that ends at `end` is a key: a colon follows. */
function isKey(text: string, end: number): boolean {
  for (let i = end + 1; i < text.length; i++) {
    const c = text[i]
    if (c !== ' ' && c !== '\n' && c !== '\r' && c !== '\t') return c === ':'
  }
  return false
}

function unquote(quoted: string): string {
  try {
    return JSON.parse(quoted) as string
  } catch (cause) {
    throw new AppError('ERR_INPUT_INVALID', '(document): not JSON', { cause })
  }
}

/** Refuses repeated keys and deep nesting. Total: text that is no JSON passes or is refused, and JSON.parse comes after. */
function scan(text: string): void {
  // One entry for each open bracket: the keys seen so far, undefined for an array.
  const open: (Set<string> | undefined)[] = []
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (c === '{' || c === '[') {
      open.push(c === '{' ? new Set() : undefined)
      if (open.length > LIMITS.jsonDepth.value)
        throw refuse(`nested deeper than ${LIMITS.jsonDepth.value}`)
    } else if (c === '}' || c === ']') open.pop()
    else if (c === '"') {
      const end = stringEnd(text, i)
      const keys = open.at(-1)
      if (keys && isKey(text, end)) {
        const key = unquote(text.slice(i, end + 1))
        if (key === '__proto__') throw refuse('the key __proto__ is not allowed')
        if (keys.has(key))
          throw refuse(`the key ${JSON.stringify(key.slice(0, 64))} is named twice`)
        keys.add(key)
      }
      i = end
    }
  }
}

/** Throws ERR_INPUT_INVALID. The size is the caller's check, before this. */
export function parseJson(bytes: Uint8Array): unknown {
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch (cause) {
    throw new AppError('ERR_INPUT_INVALID', '(document): not UTF-8', { cause })
  }
  scan(text)
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    throw new AppError('ERR_INPUT_INVALID', '(document): not JSON', {
      cause,
      details: { issues: [{ path: '(document)', message: 'not JSON' }] },
    })
  }
}
