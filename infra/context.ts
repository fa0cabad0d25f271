/** The context values of `cdk deploy -c name=value`, checked before anything is built: a typo stops synth with a sentence. */
import type { Node } from 'constructs'
import { isResourceName } from '../core/domain/name.ts'

export interface DeployContext {
  /** Cluster name; part of every certificate. */
  readonly cluster: string
  /** `host:port` of the proxies that agents dial, told to everyone who asks the API. */
  readonly proxies: readonly string[]
}

const KNOWN = ['cluster', 'proxies'] as const

export class ContextError extends Error {
  override readonly name = 'ContextError'
}

/** Reads `-c postern:<name>=value`. Throws ContextError that says what to write instead. */
export function readContext(node: Pick<Node, 'tryGetContext' | 'getAllContext'>): DeployContext {
  const given = Object.keys(node.getAllContext() as Record<string, unknown>).filter((k) =>
    k.startsWith('postern:'),
  )
  const unknown = given.find((key) => !KNOWN.some((known) => key === `postern:${known}`))
  if (unknown)
    throw new ContextError(
      `${unknown} is not a context value; use ${KNOWN.map((k) => `postern:${k}`).join(', ')}`,
    )
  const cluster: unknown = node.tryGetContext('postern:cluster') ?? 'postern'
  if (typeof cluster !== 'string' || !isResourceName(cluster))
    throw new ContextError(
      'postern:cluster: use 1 to 63 of a-z, 0-9, "." and "-", as in -c postern:cluster=example',
    )
  const text: unknown = node.tryGetContext('postern:proxies') ?? ''
  const proxies = typeof text === 'string' ? text.split(',').filter(Boolean) : []
  if (proxies.length === 0)
    throw new ContextError(
      'postern:proxies: name the proxies that agents dial, as in -c postern:proxies=access.example.com:443',
    )
  const wrong = proxies.find((p) => !/^[a-z0-9.-]+:\d{1,5}$/.test(p))
  if (wrong !== undefined)
    throw new ContextError(
      `postern:proxies: ${wrong} is not host:port, as in -c postern:proxies=access.example.com:443`,
    )
  return { cluster, proxies }
}
