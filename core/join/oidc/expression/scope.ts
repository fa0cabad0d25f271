/**
 * Whether an expression says whom it lets in. One that only says what a claim is not, or that is true whatever the claims are, lets
 * in everybody whom the issuer knows; that is asked when the token is made.
 */
import { matcherOf } from './functions.ts'
import type { Node } from './parse.ts'

const MAPPINGS = new Set(['set', 'union', 'strings.upper', 'strings.lower', 'email.local'])

function isConstant(node: Node): boolean {
  switch (node.is) {
    case 'claim':
      return false
    case 'text':
    case 'bool':
      return true
    case 'and':
    case 'or':
    case 'equal':
      return isConstant(node.left) && isConstant(node.right)
    case 'not':
      return isConstant(node.node)
    case 'call':
      return node.args.every(isConstant)
  }
}

/** Claims and nothing else, perhaps changed: `set(claims.a, "x")` holds "x" whatever the claims are. */
function isClaims(node: Node | undefined): boolean {
  if (node?.is === 'claim') return true
  if (node?.is !== 'call' || node.args.length === 0) return false
  if (MAPPINGS.has(node.name)) return node.args.every(isClaims)
  const [list, separator] = node.args
  return node.name === 'strings.split' && isClaims(list) && separator?.is === 'text'
}

/** One side is claims, the other was written down. */
const pins = (one: Node, other: Node): boolean =>
  (isClaims(one) && isConstant(other)) || (isConstant(one) && isClaims(other))

const hasText = ({ args }: Extract<Node, { is: 'call' }>): boolean =>
  args.some(({ is }) => is === 'text')

function callNames(name: string, [first, second]: readonly Node[]): boolean {
  if (!first || !second) return false
  switch (name) {
    case 'contains':
    case 'contains_any':
    case 'equals':
      return pins(first, second)
    case 'contains_all':
      // Of nothing everything is true, so something has to be there.
      return (
        isClaims(first) &&
        (second.is === 'text' || (second.is === 'call' && second.name === 'set' && hasText(second)))
      )
    case 'regexp.match':
      return isClaims(first) && second.is === 'text' && matcherOf(second.text).hasLiteral
    default:
      return false
  }
}

/** Whether `node` being `value` means that some claim is one that was written down. */
export function namesSomebody(node: Node, value = true): boolean {
  switch (node.is) {
    case 'text':
      return false
    case 'bool':
      // What never comes about lets in nobody.
      return node.bool !== value
    case 'claim':
      return value
    case 'not':
      return namesSomebody(node.node, !value)
    case 'and':
    case 'or': {
      const sides = [node.left, node.right].map((side) => namesSomebody(side, value))
      // Both sides are as wanted, or only one of them is known to be.
      return (node.is === 'and') === value ? sides.some(Boolean) : sides.every(Boolean)
    }
    case 'equal':
      return value && pins(node.left, node.right)
    case 'call':
      return value && callNames(node.name, node.args)
  }
}
