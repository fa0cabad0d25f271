/**
 * Regular expressions in RE2's syntax, as far as it can be matched in linear time by the machine in match.ts: literals, `.`, classes,
 * groups, `|`, `* + ?`, `{n,m}`, `^`, `$`. References, assertions and flags are refused by name; nothing is half understood.
 */
import { LIMITS } from '../limits.ts'

/** Whether one character, by code point, is meant. */
export type Chars = (code: number) => boolean

export type Pattern =
  | { readonly is: 'chars'; readonly chars: Chars; readonly one: boolean }
  | { readonly is: 'begin' | 'end' }
  | { readonly is: 'nothing' }
  | { readonly is: 'all' | 'any'; readonly parts: readonly Pattern[] }
  /** `most` undefined: any number. */
  | {
      readonly is: 'repeat'
      readonly part: Pattern
      readonly least: number
      readonly most?: number
    }

/** What is wrong with it, for whoever wrote it. */
export class RegExpFlaw extends Error {}

const range =
  (from: number, to: number): Chars =>
  (code) =>
    code >= from && code <= to
const either =
  (all: readonly Chars[]): Chars =>
  (code) =>
    all.some((one) => one(code))
const not =
  (chars: Chars): Chars =>
  (code) =>
    !chars(code)
const codeOf = (character: string): number => character.codePointAt(0) ?? 0
const is = (character: string): Chars => range(codeOf(character), codeOf(character))

const DIGIT = range(48, 57)
const WORD = either([DIGIT, range(65, 90), range(97, 122), is('_')])
const SPACE = either(['\t', '\n', '\f', '\r', ' '].map(is))
/** ASCII only, as in RE2. */
const CLASSES: Readonly<Record<string, Chars>> = {
  d: DIGIT,
  w: WORD,
  s: SPACE,
  D: not(DIGIT),
  W: not(WORD),
  S: not(SPACE),
}
const CONTROLS: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v' }
const PUNCTUATION = /^[!-/:-@[-`{-~ ]$/

class Reader {
  readonly #text: readonly string[]
  #at = 0
  #depth = 0
  constructor(text: string) {
    this.#text = [...text]
  }

  read(): Pattern {
    const pattern = this.#any()
    if (this.#at < this.#text.length) throw new RegExpFlaw('a ) without its (')
    return pattern
  }

  get #next(): string | undefined {
    return this.#text[this.#at]
  }
  #take(character: string): boolean {
    if (this.#next !== character) return false
    this.#at += 1
    return true
  }

  #any(): Pattern {
    const parts = [this.#all()]
    while (this.#take('|')) parts.push(this.#all())
    const [only] = parts
    return parts.length === 1 && only ? only : { is: 'any', parts }
  }
  #all(): Pattern {
    const parts: Pattern[] = []
    while (this.#next !== undefined && this.#next !== '|' && this.#next !== ')')
      parts.push(this.#repeated())
    return parts.length === 0 ? { is: 'nothing' } : { is: 'all', parts }
  }

  #repeated(): Pattern {
    const part = this.#one()
    const times = this.#times()
    if (!times) return part
    // Whether as few or as many as possible are taken changes nothing in whether it matches.
    this.#take('?')
    if (this.#times())
      throw new RegExpFlaw('a repetition of a repetition: put the inner one into (…)')
    return { is: 'repeat', part, ...times }
  }
  #times(): { readonly least: number; readonly most?: number } | undefined {
    if (this.#take('*')) return { least: 0 }
    if (this.#take('+')) return { least: 1 }
    if (this.#take('?')) return { least: 0, most: 1 }
    const [whole, least, comma, most] =
      /^\{(\d{1,4})(,?)(\d{0,4})\}/.exec(this.#text.slice(this.#at, this.#at + 11).join('')) ?? []
    if (whole === undefined) return undefined
    this.#at += whole.length
    const from = Number(least)
    if (comma === '') return { least: from, most: from }
    if (most === '') return { least: from }
    if (Number(most) < from) throw new RegExpFlaw(`${whole} ends before it begins`)
    return { least: from, most: Number(most) }
  }

  #one(): Pattern {
    const character = this.#next
    this.#at += 1
    switch (character) {
      case '(':
        return this.#group()
      case '[':
        return { is: 'chars', chars: this.#class(), one: false }
      case '.':
        return { is: 'chars', chars: not(is('\n')), one: false }
      case '^':
        return { is: 'begin' }
      case '$':
        return { is: 'end' }
      case '\\': {
        const chars = this.#escaped()
        return typeof chars === 'string'
          ? { is: 'chars', chars: is(chars), one: true }
          : { is: 'chars', chars, one: false }
      }
      case '*':
      case '+':
      case '?':
        throw new RegExpFlaw(`nothing stands before ${character}`)
      default:
        return { is: 'chars', chars: is(character ?? ''), one: true }
    }
  }

  #group(): Pattern {
    if (this.#take('?') && !this.#take(':'))
      throw new RegExpFlaw(`(?${this.#next ?? ''} is not understood here; groups are (…) and (?:…)`)
    if (++this.#depth > LIMITS.expressionDepth.value)
      throw new RegExpFlaw(`groups nested deeper than ${LIMITS.expressionDepth.value}`)
    const inner = this.#any()
    this.#depth -= 1
    if (!this.#take(')')) throw new RegExpFlaw('a ( without its )')
    return inner
  }

  /** After the backslash: one character, or a class of them. */
  #escaped(): string | Chars {
    const character = this.#next ?? ''
    this.#at += 1
    const chars = Object.hasOwn(CLASSES, character) ? CLASSES[character] : undefined
    if (chars) return chars
    const control = Object.hasOwn(CONTROLS, character) ? CONTROLS[character] : undefined
    if (control !== undefined) return control
    if (PUNCTUATION.test(character)) return character
    throw new RegExpFlaw(`\\${character} is not understood here`)
  }

  #class(): Chars {
    const negated = this.#take('^')
    const parts: Chars[] = []
    do {
      if (this.#next === undefined) throw new RegExpFlaw('a [ without its ]')
      if (this.#next === '[' && /[:.=]/.test(this.#text[this.#at + 1] ?? ''))
        throw new RegExpFlaw('classes such as [:alpha:] are not understood here')
      const from = this.#member()
      if (typeof from !== 'string') parts.push(from)
      else if (this.#next === '-' && this.#text[this.#at + 1] !== ']') {
        this.#at += 1
        const to = this.#member()
        if (typeof to !== 'string' || codeOf(to) < codeOf(from))
          throw new RegExpFlaw(`a range of characters that ends before ${from}`)
        parts.push(range(codeOf(from), codeOf(to)))
      } else parts.push(is(from))
    } while (!this.#take(']'))
    return negated ? not(either(parts)) : either(parts)
  }
  #member(): string | Chars {
    const character = this.#next ?? ''
    this.#at += 1
    return character === '\\' ? this.#escaped() : character
  }
}

/** Throws RegExpFlaw. */
export const parsePattern = (text: string): Pattern => new Reader(text).read()

/** Whether every match has some character in it that was written down: `.*` and `[^x]+` say nothing of whom they mean. */
export function hasLiteral(pattern: Pattern): boolean {
  switch (pattern.is) {
    case 'chars':
      return pattern.one
    case 'all':
      return pattern.parts.some(hasLiteral)
    case 'any':
      return pattern.parts.every(hasLiteral)
    case 'repeat':
      return pattern.least > 0 && hasLiteral(pattern.part)
    case 'begin':
    case 'end':
    case 'nothing':
      return false
  }
}
