/**
 * A regular expression as a machine whose states are all followed at once (Thompson, 1968): the time is its size times the length of
 * the text, whatever both are. JavaScript's own expressions step back and try again, which somebody's `(a*)*b` turns into days.
 */
import { LIMITS } from '../limits.ts'
import { hasLiteral, parsePattern, RegExpFlaw, type Chars, type Pattern } from './parse.ts'

type State =
  | { readonly is: 'chars'; readonly chars: Chars }
  | { readonly is: 'begin' | 'end' | 'match' }
  | { readonly is: 'fork'; to: readonly number[] }

export interface LinearRegExp {
  /** Whether some part of `text` matches; `^` and `$` are the text's own ends. */
  test(text: string): boolean
  /** Whether every match has a character in it that the expression spells out. */
  readonly hasLiteral: boolean
}

const tooLarge = (): RegExpFlaw =>
  new RegExpFlaw(
    `larger than ${LIMITS.regexpStates.value} states; repetitions count as often as they repeat`,
  )

/** Each state goes on to the next one; a fork goes where it says. */
function statesOf(pattern: Pattern): readonly State[] {
  const states: State[] = []
  const add = <S extends State>(state: S): S => {
    if (states.length >= LIMITS.regexpStates.value) throw tooLarge()
    states.push(state)
    return state
  }
  const here = (): number => states.length
  const fork = (...to: number[]) => add({ is: 'fork' as const, to })

  let steps = 0
  function write(part: Pattern): void {
    // What needs no state, such as `(){999}`, takes time all the same.
    if (++steps > 4 * LIMITS.regexpStates.value) throw tooLarge()
    switch (part.is) {
      case 'nothing':
        return
      case 'chars':
      case 'begin':
      case 'end':
        return void add(part)
      case 'all':
        return part.parts.forEach(write)
      case 'any': {
        const choice = fork()
        const starts: number[] = []
        const ends = part.parts.map((one) => {
          starts.push(here())
          write(one)
          return fork()
        })
        choice.to = starts
        for (const end of ends) end.to = [here()]
        return
      }
      case 'repeat': {
        for (let i = 0; i < part.least; i++) write(part.part)
        if (part.most === undefined) {
          const loop = here()
          const choice = fork()
          write(part.part)
          fork(loop)
          choice.to = [loop + 1, here()]
          return
        }
        const choices = []
        for (let i = part.least; i < part.most; i++) {
          choices.push([fork(), here()] as const)
          write(part.part)
        }
        for (const [choice, next] of choices) choice.to = [next, here()]
        return
      }
    }
  }
  write(pattern)
  add({ is: 'match' })
  return states
}

/** Throws RegExpFlaw with what is wrong with it. */
export function linearRegExp(source: string): LinearRegExp {
  const pattern = parsePattern(source)
  const states = statesOf(pattern)

  /** Adds `from` and whatever it leads to without a character. True when a match is among them. */
  function follow(into: Set<number>, from: number, begin: boolean, end: boolean): boolean {
    let matched = false
    const open = [from]
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      if (into.has(at)) continue
      into.add(at)
      const state = states[at]
      if (state?.is === 'match') matched = true
      else if (state?.is === 'fork') open.push(...state.to)
      else if (state?.is === 'begin' ? begin : state?.is === 'end' && end) open.push(at + 1)
    }
    return matched
  }

  return {
    hasLiteral: hasLiteral(pattern),
    test(text) {
      const codes = [...text].map((character) => character.codePointAt(0) ?? 0)
      let current = new Set<number>()
      for (let i = 0; i <= codes.length; i++) {
        const end = i === codes.length
        // A match may begin at every place.
        if (follow(current, 0, i === 0, end)) return true
        const code = codes[i]
        if (code === undefined) return false
        const next = new Set<number>()
        for (const at of current) {
          const state = states[at]
          if (state?.is !== 'chars' || !state.chars(code)) continue
          if (follow(next, at + 1, false, i + 1 === codes.length)) return true
        }
        current = next
      }
      return false
    },
  }
}
