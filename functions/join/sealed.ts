/** Sealed calls of the join verb, the server's half: the statement about its key, and requests in the clear or sealed. */
import type { KeyObject } from 'node:crypto'
import type * as z from 'zod'
import { sealedCall, type Credentials, type SealedCall } from '../../core/api/join.ts'
import { caPin } from '../../core/certs/signer.ts'
import { openRequest, signJoinKey, type SealedPath } from '../../core/join/sealed-call.ts'
import { LIMITS } from '../../core/limits.ts'
import { parse } from '../../core/parse.ts'
import type { JoinDeps } from '../deps.ts'
import { jsonBody, type Ctx } from '../http.ts'

export interface Statements {
  /** The host CA's word for the join key, good for two thirds of LIMITS.joinKeyTtl at least. */
  readonly now: () => Promise<string>
}

/** One signature for each instance and third of the life, not one for each join: with KMS each costs money and time. */
export function createStatements(
  deps: Pick<JoinDeps, 'cluster' | 'clock' | 'hostCa' | 'joinKey'>,
): Statements {
  const { cluster, clock, joinKey } = deps
  let made:
    { readonly pin: string; readonly until: number; readonly text: Promise<string> } | undefined
  return {
    now() {
      const { signer } = deps.hostCa()
      const now = clock.now()
      const pin = caPin(signer.publicKey)
      if (made && made.pin === pin && now < made.until) return made.text
      const text = signJoinKey(signer, joinKey, { cluster, now })
      const mine = { pin, until: now + LIMITS.joinKeyTtl.value / 3, text }
      made = mine
      text.catch(() => {
        if (made === mine) made = undefined
      })
      return text
    },
  }
}

export interface OpenedCall<T> {
  readonly request: T
  /** As the request came, so goes the answer. */
  readonly answer: (credentials: Credentials) => Promise<Credentials | SealedCall>
}

export async function openCall<S extends z.ZodType>(
  c: Ctx,
  path: SealedPath,
  schema: S,
  given: { readonly joinKey: KeyObject; readonly statements: Statements },
): Promise<OpenedCall<z.output<S>>> {
  const raw = jsonBody(c)
  if (typeof raw !== 'object' || raw === null || !Object.hasOwn(raw, 'sealed'))
    return { request: parse(schema, raw), answer: async (credentials) => credentials }
  const opened = await openRequest(given.joinKey, parse(sealedCall, raw), path)
  return {
    request: parse(schema, opened.body),
    answer: async (credentials) =>
      opened.seal({ ...credentials, join_key: await given.statements.now() }),
  }
}
