/**
 * Whether an expression holds for the claims of a verified id token. What it asks for and is not there, or is of another kind, is no
 * answer but a failure: `!(claims.team == "web")` does not let in whoever has no team. Pure.
 */
import { claim, type Claims } from '../claims.ts'
import { ExpressionFailure, FUNCTIONS, type Kind, type Value } from './functions.ts'
import type { Node } from './parse.ts'

const named = (path: readonly string[]): string => `claims.${path.join('.')}`.slice(0, 120)

function claimAt(claims: Claims, path: readonly string[]): Value {
  let found: unknown = claims
  for (const name of path) {
    if (typeof found !== 'object' || found === null || Array.isArray(found))
      throw new ExpressionFailure(`${named(path)} is not there`)
    found = claim(found as Claims, name)
  }
  if (typeof found === 'string' || typeof found === 'boolean') return found
  if (Array.isArray(found) && found.every((one): one is string => typeof one === 'string'))
    return new Set(found)
  if (found === undefined) throw new ExpressionFailure(`${named(path)} is not there`)
  throw new ExpressionFailure(`${named(path)} is neither text, boolean nor a list of texts`)
}

function checked(value: Value, wanted: Kind, where: string): Value {
  const fits =
    wanted === 'bool'
      ? typeof value === 'boolean'
      : wanted === 'text'
        ? typeof value === 'string'
        : typeof value !== 'boolean'
  if (fits) return value
  throw new ExpressionFailure(`${where} got something else than ${wanted}`)
}

function equal(left: Value, right: Value): boolean {
  if (typeof left === 'object' || typeof right === 'object' || typeof left !== typeof right)
    throw new ExpressionFailure('== got a list, or values of two kinds')
  return left === right
}

function valueOf(node: Node, claims: Claims): Value {
  switch (node.is) {
    case 'text':
      return node.text
    case 'bool':
      return node.bool
    case 'claim':
      return claimAt(claims, node.path)
    case 'and':
      return truth(node.left, claims) && truth(node.right, claims)
    case 'or':
      return truth(node.left, claims) || truth(node.right, claims)
    case 'not':
      return !truth(node.node, claims)
    case 'equal':
      return equal(valueOf(node.left, claims), valueOf(node.right, claims))
    case 'call': {
      const called = FUNCTIONS[node.name]
      if (!called) throw new ExpressionFailure(`${node.name}() is not known`)
      const args = node.args.map((arg, i) =>
        checked(valueOf(arg, claims), called.takes[i] ?? called.more ?? 'value', `${node.name}()`),
      )
      return called.apply(args)
    }
  }
}

const truth = (node: Node, claims: Claims): boolean =>
  checked(valueOf(node, claims), 'bool', 'an expression') === true

/** Throws ExpressionFailure. */
export const expressionHolds = (node: Node, claims: Claims): boolean => truth(node, claims)
