/**
 * Holds every request to the table against the IAM rules of the function that would have sent it: the same lists that infra makes
 * `dynamodb:LeadingKeys` from. A store that touches a key its verb may not touch fails the test that made it do so.
 */
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { AsyncLocalStorage } from 'node:async_hooks'
import { KEY_ACCESS } from '../../functions/store/key-access.ts'
import { refusedTouches } from '../../functions/store/key-check.ts'
import { ROUTES, VERBS, type FunctionVerb } from '../../infra/routes.ts'

/** The function that answers a request, by the deployed routes. */
export function verbOf(method: string, path: string): FunctionVerb {
  const bare = path.split('?')[0] ?? path
  const found = VERBS.find((verb) =>
    ROUTES[verb].some((route) => {
      const [m, pattern = ''] = route.split(' ')
      if (m !== method) return false
      return pattern.endsWith('/{proxy+}')
        ? bare.startsWith(pattern.slice(0, -8))
        : pattern === bare
    }),
  )
  return found ?? 'api'
}

export interface KeyAccessWatch {
  /** Runs a request as the function that would answer it. */
  as<T>(method: string, path: string, run: () => Promise<T>): Promise<T>
  /** Requests that IAM would have refused, each once. */
  violations(): string[]
}

export function watchKeyAccess(client: DynamoDBClient): KeyAccessWatch {
  const current = new AsyncLocalStorage<FunctionVerb>()
  const found = new Set<string>()
  client.middlewareStack.add(
    (next, context) => (args) => {
      const verb = current.getStore()
      const { commandName = '' } = context as { commandName?: string }
      if (verb) {
        const op = commandName.replace(/Command$/, '')
        const input = args.input as unknown as Record<string, unknown>
        for (const [kind, key] of refusedTouches(KEY_ACCESS[verb], op, input))
          found.add(`${verb} may not ${kind} ${key.replace(/#[^#]*$/, '#…')} (${commandName})`)
      }
      return next(args)
    },
    { step: 'initialize', name: 'keyAccessWatch' },
  )
  return {
    as: (method, path, run) => current.run(verbOf(method, path), run),
    violations: () => [...found].sort(),
  }
}
