/** Which function answers which path of the HTTP API. docs/deploy.md shows it; a test holds it against the verbs' own apps. */
import type { Verb } from '../functions/store/key-access.ts'

export type FunctionVerb = Exclude<Verb, 'proxy'>

export const VERBS = ['api', 'join', 'login', 'policy', 'rotate'] as const satisfies readonly FunctionVerb[]

/** HTTP API route keys. What no other verb takes is the api function's. */
export const ROUTES: Readonly<Record<FunctionVerb, readonly string[]>> = {
  join: ['POST /v1/join', 'POST /v1/join/challenge', 'POST /v1/renew'],
  login: ['POST /v1/login/{proxy+}', 'POST /v1/certs'],
  policy: ['GET /v1/policy', 'GET /v1/policy/freshness', 'POST /v1/routes'],
  rotate: ['GET /v1/cas', 'POST /v1/cas/{proxy+}'],
  api: ['$default'],
}
