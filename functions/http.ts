/** The HTTP vocabulary of the verb apps: their environment, their answers, and how input becomes parsed values. */
import { Hono, type Context } from 'hono'
import type * as z from 'zod'
import { AppError, badField } from '../core/errors.ts'
import { parse, type Suggestions } from '../core/parse.ts'
import { parseJson } from '../core/strict-json.ts'
import { LIMITS } from '../core/limits.ts'
import type { Caller } from './middleware/callers.ts'

export interface Env {
  /** Local: the address of the peer. On Lambda: the event, whose request context has it. */
  Bindings: {
    readonly ip?: string
    readonly event?: {
      readonly requestContext?: {
        readonly http?: { readonly sourceIp?: string }
        /** There on routes with the gateway's IAM authorizer, once it has verified the caller's signature. */
        readonly authorizer?: {
          readonly iam?: { readonly userArn?: string; readonly accountId?: string }
        }
      }
    }
    readonly lambdaContext?: { readonly invokedFunctionArn?: string }
  }
  Variables: {
    requestId: string
    /** Raw body, within its cap; what signatures cover. */
    body: Buffer
    /** Set by the first who asks; a request has one caller. */
    caller?: Promise<Caller>
    /** The same, once it is known. */
    identified?: Caller
  }
}
export type Ctx = Context<Env>
export type VerbApp = Hono<Env>

export const verbApp = (): VerbApp => new Hono<Env>({ strict: true })

/** Address of the peer as the socket or API Gateway saw it, never from a header that the caller wrote. */
export const sourceIp = (c: Ctx): string =>
  c.env?.ip ?? c.env?.event?.requestContext?.http?.sourceIp ?? 'unknown'

/** Path and query exactly as they were asked for. */
export function pathAndQuery(url: string): string {
  const start = url.indexOf('/', url.indexOf('://') + 3)
  return start < 0 ? '/' : url.slice(start)
}

/** The JSON body, parsed by `schema`. */
export function body<S extends z.ZodType>(c: Ctx, schema: S, suggest?: Suggestions): z.output<S> {
  return parse(schema, jsonBody(c), suggest ? { suggest } : {})
}

export function jsonBody(c: Ctx): unknown {
  const type = c.req.header('content-type') ?? ''
  if (!/^application\/json\s*(;\s*charset=utf-8\s*)?$/i.test(type))
    throw badField('content-type', 'use application/json')
  return parseJson(c.get('body'))
}

/** The query, each parameter once and none that `schema` does not know. */
export function query<S extends z.ZodType>(c: Ctx, schema: S): z.output<S> {
  const given: Record<string, string> = {}
  for (const [name, value] of new URL(c.req.url).searchParams) {
    if (Object.hasOwn(given, name)) throw badField(name, 'is given twice')
    if (value.length > LIMITS.queryValue.value) throw badField(name, 'is too long')
    given[name] = value
  }
  return parse(schema, given)
}

export const notFound = (): AppError => new AppError('ERR_NOT_FOUND')
