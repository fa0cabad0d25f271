/**
 * Every call of the API in one table: who may make it, what goes in, what comes out. The OpenAPI document is made of it, and a
 * test holds it to the routes that exist.
 */
import * as z from 'zod'
import { caDocument, caList, rollbackRequest, rotateRequest } from '../../core/api/cas.ts'
import * as documents from '../../core/api/documents.ts'
import {
  challengeAnswer,
  challengeRequest,
  credentials,
  joinKeyAnswer,
  joinRequest,
  renewRequest,
  sealedCall,
} from '../../core/api/join.ts'
import { certRequest, passwordLogin, userCertificates, whoami } from '../../core/api/login.ts'
import { freshnessAnswer, policyAnswer } from '../../core/api/policy.ts'
import { routeAnswer, routeRequest } from '../../core/api/route.ts'
import { jsonWebKeySet, openidConfiguration, spiffeBundle } from '../../core/api/spiffe.ts'
import { keyRequest } from '../../core/domain/api-key.ts'
import { caBundle, discovery, ping } from '../../core/domain/cluster.ts'
import { agentEvents } from '../../core/domain/event.ts'
import { lockResource } from '../../core/domain/lock.ts'
import { connectorResource } from '../../core/domain/oidc-connector.ts'
import { announcement } from '../../core/domain/resource.ts'
import { roleResource } from '../../core/domain/role.ts'
import { tokenResource, tokenShort } from '../../core/domain/token.ts'
import { userResource } from '../../core/domain/user.ts'
import type { ErrorCode } from '../../core/errors.ts'
import { eventQuery, pageQuery, resourceQuery } from '../queries.ts'
import { lockShort } from '../routes/locks.ts'

export type Who = 'anyone' | 'operator' | 'user' | 'agent' | 'agent or proxy' | 'any caller'

export interface Operation {
  readonly method: 'get' | 'post' | 'put' | 'delete'
  /** With `{name}` for parameters. */
  readonly path: string
  readonly who: Who
  readonly summary: string
  readonly query?: z.ZodObject
  /** Several: any of them. */
  readonly input?: readonly z.ZodType[]
  readonly output?: z.ZodType
  /** Statuses of success; the first has `output`, 204 and 304 have no body. */
  readonly success: readonly number[]
  /** Besides those that every call of this kind has. */
  readonly errors?: readonly ErrorCode[]
}

type Extra = Partial<Pick<Operation, 'query' | 'input' | 'output' | 'success' | 'errors'>>
const call =
  (method: Operation['method']) =>
  (path: string, who: Who, summary: string, extra: Extra = {}): Operation => ({
    method,
    path,
    who,
    summary,
    success: [200],
    ...extra,
  })
const get = call('get')
const post = call('post')
const put = call('put')
const remove = (path: string, summary: string): Operation =>
  call('delete')(path, 'operator', summary, { success: [204], errors: ['ERR_NOT_FOUND'] })

function crud(
  kind: 'role' | 'user' | 'oidc_connector',
  input: z.ZodType,
  document: z.ZodType,
  on: { readonly put: readonly ErrorCode[]; readonly query?: z.ZodObject },
): Operation[] {
  const one = `/v1/${kind}s/{name}`
  return [
    get(`/v1/${kind}s`, 'operator', `List ${kind}s.`, {
      query: on.query ?? resourceQuery,
      output: documents.pageOf(document),
    }),
    get(one, 'operator', `Read one ${kind}.`, { output: document, errors: ['ERR_NOT_FOUND'] }),
    put(one, 'operator', `Create or replace a ${kind}.`, {
      input: [input],
      output: document,
      success: [200, 201],
      errors: on.put,
    }),
    remove(one, `Remove a ${kind}.`),
  ]
}

function served(kind: 'node' | 'app', document: z.ZodType): Operation[] {
  return [
    get(`/v1/${kind}s`, 'any caller', `List the ${kind}s that the caller may reach.`, {
      query: resourceQuery,
      output: documents.pageOf(document),
    }),
    get(`/v1/${kind}s/{name}`, 'any caller', `Read one ${kind}.`, {
      output: document,
      errors: ['ERR_NOT_FOUND'],
    }),
  ]
}

const LOCK = { input: [lockResource, lockShort], output: documents.lockDocument }

export const OPERATIONS: readonly Operation[] = [
  get('/.well-known/postern', 'anyone', 'Where this cluster is.', { output: discovery }),
  get('/v1/ping', 'anyone', 'Name, version and join methods.', { output: ping }),
  get('/v1/ca', 'anyone', 'The public halves of the CAs.', { output: caBundle }),
  get('/v1/spiffe/bundle', 'anyone', 'The SPIFFE trust bundle: who signs agents and proxies.', {
    output: spiffeBundle,
  }),
  get('/.well-known/jwks.json', 'anyone', 'Keys that JWTs of this cluster are signed with.', {
    output: jsonWebKeySet,
  }),
  get('/.well-known/openid-configuration', 'anyone', 'This cluster as an OIDC issuer.', {
    output: openidConfiguration,
  }),
  get('/v1/openapi.json', 'anyone', 'This document.'),
  get('/install.sh', 'anyone', 'The installer of the agent, a shell script.'),
  get('/v1/agent/{file}', 'anyone', 'An archive of the agent, or where it is.', {
    success: [200, 302],
    errors: ['ERR_NOT_FOUND'],
  }),
  get('/v1/whoami', 'any caller', 'Who the caller is.', { output: whoami }),

  post('/v1/tokens', 'operator', 'Mint a join token; the secret is shown this once.', {
    input: [tokenShort, tokenResource],
    output: documents.tokenCreated,
    success: [201],
    errors: ['ERR_CONFLICT'],
  }),
  get('/v1/tokens', 'operator', 'List join tokens.', {
    query: resourceQuery,
    output: documents.pageOf(documents.tokenDocument),
  }),
  get('/v1/tokens/{name}', 'operator', 'Read one join token.', {
    output: documents.tokenDocument,
    errors: ['ERR_NOT_FOUND'],
  }),
  remove('/v1/tokens/{name}', 'Revoke a join token.'),

  post('/v1/keys', 'operator', 'Make an API key; the secret is shown this once.', {
    input: [keyRequest],
    output: documents.keyCreated,
    success: [201],
  }),
  get('/v1/keys', 'operator', 'List API keys.', {
    query: pageQuery,
    output: documents.pageOf(documents.keyDocument),
  }),
  get('/v1/keys/{id}', 'operator', 'Read one API key.', {
    output: documents.keyDocument,
    errors: ['ERR_NOT_FOUND'],
  }),
  remove('/v1/keys/{id}', 'Revoke an API key.'),

  ...crud('oidc_connector', connectorResource, documents.connectorDocument, {
    put: ['ERR_NOT_FOUND', 'ERR_CONFLICT'],
    query: pageQuery,
  }),
  ...crud('role', roleResource, documents.roleDocument, { put: ['ERR_NOT_FOUND'] }),
  ...crud('user', userResource, documents.userDocument, { put: ['ERR_NOT_FOUND'] }),

  post('/v1/locks', 'operator', 'Lock a user, an agent or a role.', { ...LOCK, success: [201] }),
  get('/v1/locks', 'operator', 'List the locks in force.', {
    query: pageQuery,
    output: documents.pageOf(documents.lockDocument),
  }),
  get('/v1/locks/{name}', 'operator', 'Read one lock.', {
    output: documents.lockDocument,
    errors: ['ERR_NOT_FOUND'],
  }),
  put('/v1/locks/{name}', 'operator', 'Create a lock under a given id; a lock is never edited.', {
    ...LOCK,
    success: [200, 201],
    errors: ['ERR_NOT_FOUND', 'ERR_CONFLICT'],
  }),
  remove('/v1/locks/{name}', 'Remove a lock.'),

  get('/v1/cas', 'operator', 'How far each CA is in its rotation.', { output: caList }),
  post('/v1/cas/{name}/rotate', 'operator', 'Begin a rotation of a CA, or move it on.', {
    input: [rotateRequest],
    output: caDocument,
    errors: ['ERR_NOT_FOUND', 'ERR_CONFLICT'],
  }),
  post('/v1/cas/{name}/rollback', 'operator', 'Back to the key from before the rotation.', {
    input: [rollbackRequest],
    output: caDocument,
    errors: ['ERR_NOT_FOUND', 'ERR_CONFLICT'],
  }),

  ...served('node', documents.nodeDocument),
  ...served('app', documents.appDocument),
  get('/v1/agents', 'operator', 'List agents.', {
    query: pageQuery,
    output: documents.pageOf(documents.agentDocument),
  }),
  get('/v1/agents/{id}', 'operator', 'Read one agent.', {
    output: documents.agentDocument,
    errors: ['ERR_NOT_FOUND'],
  }),
  remove('/v1/agents/{id}', 'Remove an agent and lock its certificates.'),

  post('/v1/join/challenge', 'anyone', 'A challenge for one join, good for a minute.', {
    input: [challengeRequest],
    output: challengeAnswer,
  }),
  get('/v1/join/key', 'anyone', 'The host CA’s word for the key of sealed joins.', {
    output: joinKeyAnswer,
  }),
  post('/v1/join', 'anyone', 'Join one service of an agent.', {
    input: [joinRequest, sealedCall],
    output: z.union([credentials, sealedCall]),
    errors: [
      'ERR_JOIN_REFUSED',
      'ERR_JOIN_SERVICE_NOT_ALLOWED',
      'ERR_JOIN_CHALLENGE_INVALID',
      'ERR_NAME_TAKEN',
      'ERR_KEY_ENROLLED',
    ],
  }),
  post('/v1/renew', 'anyone', 'Renew a service certificate by proof of possession.', {
    input: [renewRequest, sealedCall],
    output: z.union([credentials, sealedCall]),
    errors: ['ERR_RENEWAL_REFUSED', 'ERR_CLOCK', 'ERR_KEY_ENROLLED'],
  }),
  post('/v1/agents/self/resources', 'agent', 'Announce what one service serves.', {
    input: [announcement],
    output: documents.announced,
    errors: ['ERR_NAME_TAKEN'],
  }),
  post('/v1/agents/self/leave', 'agent', 'Give back the credential of this service.', {
    input: [documents.leaveRequest],
    output: documents.left,
  }),
  post('/v1/agents/self/events', 'agent', 'Upload audit events; repeats are harmless.', {
    input: [agentEvents],
    output: documents.eventsAccepted,
  }),

  post('/v1/login/password', 'anyone', 'Sign in with a password; answers certificates.', {
    input: [passwordLogin],
    output: userCertificates,
    errors: ['ERR_LOGIN_FAILED', 'ERR_CERT_TTL_TOO_LONG'],
  }),
  post('/v1/certs', 'any caller', 'Fresh user certificates for a key the client made.', {
    input: [certRequest],
    output: userCertificates,
    errors: ['ERR_CERT_TTL_TOO_LONG', 'ERR_NOT_FOUND'],
  }),
  get(
    '/v1/policy',
    'agent or proxy',
    'The signed policy; the header x-postern-fresh is its stamp.',
    {
      output: policyAnswer,
      success: [200, 304],
    },
  ),
  get('/v1/policy/freshness', 'agent or proxy', 'The freshness stamp alone.', {
    output: freshnessAnswer,
  }),
  post('/v1/routes', 'user', 'A signed route to a resource.', {
    input: [routeRequest],
    output: routeAnswer,
    errors: ['ERR_NOT_FOUND', 'ERR_RESOURCE_OFFLINE'],
  }),
  get('/v1/events', 'operator', 'The audit log, newest first.', {
    query: eventQuery,
    output: documents.pageOf(documents.eventDocument),
  }),
]
