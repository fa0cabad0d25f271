/**
 * Expressions of `allow_any`: the part of Teleport's predicate language that decides by texts. Read once when a token is made, with
 * every name and kind known then; what is not understood is refused there, never at a join. Bounded in length, size and depth.
 *
 *     or = and { '||' and } · and = compare { '&&' compare } · compare = not [ ('==' | '!=') not ] · not = '!' not | value
 *     value = text | true | false | '(' or ')' | claims { '.' name | '[' text ']' } | name '(' args ')' | value '.' method '(' args ')'
 */
import { reasonOf } from '../../../errors.ts'
import { LIMITS } from '../../../limits.ts'
import { RegExpFlaw } from '../../../regexp/parse.ts'
import { FUNCTIONS, matcherOf, METHODS, type Kind } from './functions.ts'
import { malformed, wordsOf, type Word } from './tokens.ts'

export type Node =
  | { readonly is: 'text'; readonly text: string }
  | { readonly is: 'bool'; readonly bool: boolean }
  /** Names of claims, outermost first. */
  | { readonly is: 'claim'; readonly path: readonly string[] }
  | { readonly is: 'and' | 'or'; readonly left: Node; readonly right: Node }
  | { readonly is: 'not'; readonly node: Node }
  | { readonly is: 'equal'; readonly left: Node; readonly right: Node }
  | { readonly is: 'call'; readonly name: string; readonly args: readonly Node[] }

/** What a node gives, as far as its text tells; a claim may be anything. */
function kindOf(node: Node): Kind | 'claim' {
  switch (node.is) {
    case 'text':
      return 'text'
    case 'claim':
      return 'claim'
    case 'call':
      return FUNCTIONS[node.name]?.gives ?? 'value'
    case 'bool':
    case 'and':
    case 'or':
    case 'not':
    case 'equal':
      return 'bool'
  }
}

const WORDS: Readonly<Record<Kind, string>> = {
  bool: 'true or false',
  text: 'a text',
  list: 'a text or a set',
  value: 'a text or a set',
  set: 'a set',
}
function fits(given: Kind | 'claim', wanted: Kind): boolean {
  if (given === 'claim' || given === wanted) return true
  if (given === 'bool' || wanted === 'bool') return false
  // `value` is decided when it is known.
  return given === 'value' || wanted === 'list' || wanted === 'value'
}
function expectKind(node: Node, wanted: Kind, where: string): void {
  if (!fits(kindOf(node), wanted)) throw malformed(`${where} needs ${WORDS[wanted]}`)
}

function checkPattern(node: Node | undefined): void {
  if (node?.is !== 'text') throw malformed('regexp.match: write the pattern as a text')
  // Taken by the word it would be a text with a star, which is not what its author means.
  if (!/^\^[^]*\$$/.test(node.text) && /^\^|\$$|[\\[\](){}|+]/.test(node.text))
    throw malformed(
      'regexp.match: a regular expression stands between ^ and $; without them only * is special',
    )
  try {
    matcherOf(node.text)
  } catch (e) {
    throw e instanceof RegExpFlaw ? malformed(`regexp.match: ${e.message}`) : e
  }
}

class Reader {
  readonly #words: readonly Word[]
  #at = 0
  #nodes = 0
  #depth = 0
  constructor(words: readonly Word[]) {
    this.#words = words
  }

  read(): Node {
    const node = this.#or()
    if (this.#at < this.#words.length) throw malformed(`not understood at ${this.#here()}`)
    return node
  }

  #here(): string {
    return this.#words[this.#at]?.text.slice(0, 20) ?? 'its end'
  }
  #made<N extends Node>(node: N): N {
    if (++this.#nodes > LIMITS.expressionNodes.value)
      throw malformed(`more than ${LIMITS.expressionNodes.value} parts`)
    return node
  }
  #sign(text: string): boolean {
    const word = this.#words[this.#at]
    if (word?.kind !== 'sign' || word.text !== text) return false
    this.#at += 1
    return true
  }
  #need(text: string): void {
    if (!this.#sign(text)) throw malformed(`${text} is missing at ${this.#here()}`)
  }
  #name(): string {
    const word = this.#words[this.#at]
    if (word?.kind !== 'name') throw malformed(`a name is missing at ${this.#here()}`)
    this.#at += 1
    return word.text
  }
  #deeper<N>(read: () => N): N {
    if (++this.#depth > LIMITS.expressionDepth.value)
      throw malformed(`nested deeper than ${LIMITS.expressionDepth.value}`)
    const node = read()
    this.#depth -= 1
    return node
  }

  #or(): Node {
    let left = this.#and()
    while (this.#sign('||')) {
      const right = this.#and()
      for (const side of [left, right]) expectKind(side, 'bool', '||')
      left = this.#made({ is: 'or', left, right })
    }
    return left
  }
  #and(): Node {
    let left = this.#compare()
    while (this.#sign('&&')) {
      const right = this.#compare()
      for (const side of [left, right]) expectKind(side, 'bool', '&&')
      left = this.#made({ is: 'and', left, right })
    }
    return left
  }
  #compare(): Node {
    const left = this.#not()
    const equal = this.#sign('==')
    if (!equal && !this.#sign('!=')) return left
    const right = this.#not()
    const kinds = [kindOf(left), kindOf(right)]
    if (kinds.some((kind) => kind === 'set'))
      throw malformed(
        'sets are not compared with == and !=; use contains, contains_any or contains_all',
      )
    if (kinds.includes('bool') && kinds.some((kind) => kind === 'text' || kind === 'value'))
      throw malformed('a text is never equal to true or false')
    const node: Node = this.#made({ is: 'equal', left, right })
    return equal ? node : this.#made({ is: 'not', node })
  }
  #not(): Node {
    if (!this.#sign('!')) return this.#methods(this.#value())
    const node = this.#deeper(() => this.#not())
    expectKind(node, 'bool', '!')
    return this.#made({ is: 'not', node })
  }

  #value(): Node {
    if (this.#sign('(')) {
      const node = this.#deeper(() => this.#or())
      this.#need(')')
      return node
    }
    const word = this.#words[this.#at]
    if (word?.kind === 'text') {
      this.#at += 1
      return this.#made({ is: 'text', text: word.text })
    }
    const name = this.#name()
    if (name === 'true' || name === 'false')
      return this.#made({ is: 'bool', bool: name === 'true' })
    return name === 'claims' ? this.#claim() : this.#call(name)
  }

  /** A path of claims; a last name with an argument list is a method of what came before. */
  #claim(): Node {
    const path: string[] = []
    for (;;) {
      if (this.#sign('[')) {
        const word = this.#words[this.#at++]
        if (word?.kind !== 'text') throw malformed('write claims["name"] with the name as a text')
        path.push(word.text)
        this.#need(']')
      } else if (this.#isMethod() || !this.#sign('.')) break
      else path.push(this.#name())
    }
    if (path.length === 0) throw malformed('claims alone is no value; name one, as claims.sub')
    return this.#made({ is: 'claim', path })
  }
  #isMethod(): boolean {
    const [dot, name, open] = this.#words.slice(this.#at, this.#at + 3)
    return dot?.text === '.' && name?.kind === 'name' && open?.kind === 'sign' && open.text === '('
  }

  #call(first: string): Node {
    let name = first
    while (this.#sign('.')) name += `.${this.#name()}`
    if (!this.#sign('('))
      throw malformed(`${name} is not known; claims are written as claims.${name}`)
    return this.#applied(name, this.#args())
  }
  #args(): Node[] {
    const args: Node[] = []
    if (this.#sign(')')) return args
    do args.push(this.#deeper(() => this.#or()))
    while (this.#sign(','))
    this.#need(')')
    return args
  }
  #applied(name: string, args: readonly Node[]): Node {
    const known = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined
    if (!known)
      throw malformed(
        `${name}() is not known here; there are ${Object.keys(FUNCTIONS).join(', ')}. Conditions with eq, not_eq, in and not_in need none`,
      )
    const { takes, more } = known
    if (args.length < takes.length || (more === undefined && args.length > takes.length))
      throw malformed(
        `${name}() takes ${takes.length}${more === undefined ? '' : ' or more'} values`,
      )
    args.forEach((arg, i) => expectKind(arg, takes[i] ?? more ?? 'value', `${name}()`))
    if (name === 'regexp.match') checkPattern(args[1])
    return this.#made({ is: 'call', name, args })
  }
  #methods(given: Node): Node {
    let node = given
    while (this.#isMethod()) {
      this.#need('.')
      const name = this.#name()
      this.#need('(')
      const method = Object.hasOwn(METHODS, name) ? METHODS[name] : undefined
      if (method === undefined)
        throw malformed(
          `.${name}() is not known here; there are ${Object.keys(METHODS).join(', ')}`,
        )
      node = this.#applied(method, [node, ...this.#args()])
    }
    return node
  }
}

/** Throws ERR_INPUT_INVALID with what to change. */
export function parseExpression(text: string): Node {
  const node = new Reader(wordsOf(text)).read()
  expectKind(node, 'bool', 'an expression')
  return node
}

/** What is wrong with it, for whoever writes a token file; undefined when nothing is. */
export function expressionFlaw(text: string): string | undefined {
  try {
    parseExpression(text)
    return undefined
  } catch (error) {
    return reasonOf(error)
  }
}
