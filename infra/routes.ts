/** Which function answers which path of the HTTP API. docs/deploy.md shows it; a test holds it against the verbs' own apps. */
import type { Verb } from '../functions/store/key-access.ts'

/** Everything that is a function: those of VERBS answer requests; `declare` is run by a deployment, `archive` by a schedule. */
export type FunctionVerb = Exclude<Verb, 'proxy'>

/** The verbs behind the HTTP API. */
export const VERBS = [
  'api',
  'join',
  'login',
  'policy',
  'bootstrap',
  'rotate',
] as const satisfies readonly FunctionVerb[]
export type HttpVerb = (typeof VERBS)[number]

/** HTTP API route keys. What no other verb takes is the api function's. */
export const ROUTES: Readonly<Record<HttpVerb, readonly string[]>> = {
  join: [
    'POST /v1/join',
    'POST /v1/join/challenge',
    'GET /v1/join/key',
    'POST /v1/renew',
    'POST /v1/bootstrap/host-ca',
  ],
  login: ['POST /v1/login/{proxy+}', 'POST /v1/certs', 'POST /v1/bootstrap/user-ca'],
  bootstrap: ['POST /v1/bootstrap'],
  policy: ['GET /v1/policy', 'GET /v1/policy/freshness', 'POST /v1/routes'],
  rotate: ['GET /v1/cas', 'POST /v1/cas/{proxy+}'],
  api: ['$default'],
}

/**
 * Routes that only IAM callers of this account reach: API Gateway verifies the AWS signature before a function runs (docs/adr/0045).
 * All others are authenticated by the functions.
 */
export const guardedByIam = (route: string): boolean => /^POST \/v1\/bootstrap(\/|$)/.test(route)
