/**
 * Where id tokens come from on this machine, one small function for each kind of place. An id token is evidence like a secret is:
 * it goes to the control plane and never into a log or a message.
 */
import { execFile } from 'node:child_process'
import { open } from 'node:fs/promises'
import { AppError, isAppError } from '../../core/errors.ts'
import type { Clock } from '../../core/clock.ts'
import { LIMITS } from '../../core/limits.ts'
import { exchange, type Answer } from '../../net/http-exchange.ts'
import type { Env } from '../env.ts'
import type { ForwardProxy } from '../../net/forward-proxy.ts'

export interface Machine {
  readonly env: Env
  readonly clock: Clock
  readonly httpsProxy: ForwardProxy | undefined
}
/** Throws ERR_TOKEN_NEEDED saying what is missing, or what the call failed with. */
export type IdTokenSource = (
  machine: Machine,
  cluster: string,
  signal: AbortSignal,
) => Promise<string>

const needed = (message: string, cause?: unknown): AppError =>
  new AppError('ERR_TOKEN_NEEDED', message, { cause })

/** Not a check of what it proves, only that it is one: the rest is the control plane's. */
function idToken(given: unknown, where: string): string {
  const text = typeof given === 'string' ? given.trim() : ''
  if (text.length <= LIMITS.idToken.value && /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text)) return text
  throw needed(`${where} holds no id token (a JWT of at most ${LIMITS.idToken.value} bytes)`)
}

function variable(env: Env, name: string, hint: string): string {
  const value = env[name]
  if (value !== undefined && value !== '') return value
  throw needed(`the environment variable ${name} is not set; ${hint}`)
}

/** The first of these variables that is set. */
export const fromEnv =
  (names: readonly [string, ...string[]], hint: string): IdTokenSource =>
  async ({ env }) => {
    const name = names.find((one) => env[one] !== undefined) ?? names[0]
    return idToken(variable(env, name, hint), name)
  }

/** A projected file, which is replaced before it expires: read anew for every join. */
export const fromFile =
  (path: (env: Env) => string): IdTokenSource =>
  async ({ env }) => {
    const name = path(env)
    let file
    try {
      file = await open(name, 'r')
    } catch (cause) {
      throw needed(`the id token file ${name} cannot be read`, cause)
    }
    try {
      const stat = await file.stat()
      if (!stat.isFile() || stat.size > 2 * LIMITS.idToken.value)
        throw needed(`${name} is no file that holds an id token`)
      return idToken(await file.readFile('utf8'), name)
    } finally {
      await file.close()
    }
  }

async function call(
  machine: Machine,
  request: {
    readonly method: 'GET' | 'POST'
    readonly url: URL
    readonly headers: Readonly<Record<string, string>>
    readonly body?: string
    readonly metadataService?: boolean
  },
  signal: AbortSignal,
): Promise<Answer> {
  const answer = await exchange({
    ...request,
    tls: {},
    timeout: LIMITS.httpTimeout.value,
    maxBytes: 4 * LIMITS.idToken.value,
    clock: machine.clock,
    signal,
    proxy: request.metadataService ? undefined : machine.httpsProxy,
  })
  if (answer.status === 200) return answer
  const again = answer.status === 429 || answer.status >= 500
  throw new AppError(
    again ? 'ERR_UNREACHABLE' : 'ERR_TOKEN_NEEDED',
    `${request.url.host} gave no id token (status ${answer.status})`,
  )
}

function jsonField(answer: Answer, name: string, where: string): string {
  let body: unknown
  try {
    body = JSON.parse(answer.body.toString('utf8'))
  } catch (cause) {
    throw needed(`${where} did not answer JSON`, cause)
  }
  return idToken((body as Record<string, unknown> | null)?.[name], where)
}

function address(text: string, name: string): URL {
  if (URL.canParse(text)) return new URL(text)
  throw needed(`the environment variable ${name} holds no URL`)
}

const PERMISSION = 'the job needs `permissions: { id-token: write }`'
/** GitHub Actions: the runner's own service, with the audience that we ask for. */
export const fromGithub: IdTokenSource = async (machine, cluster, signal) => {
  const name = 'ACTIONS_ID_TOKEN_REQUEST_URL'
  const url = address(variable(machine.env, name, PERMISSION), name)
  const bearer = variable(machine.env, 'ACTIONS_ID_TOKEN_REQUEST_TOKEN', PERMISSION)
  url.searchParams.set('audience', cluster)
  const headers = { authorization: `Bearer ${bearer}`, accept: 'application/json' }
  const answer = await call(machine, { method: 'GET', url, headers }, signal)
  return jsonField(answer, 'value', url.host)
}

const ACCESS = 'the step needs `env: { SYSTEM_ACCESSTOKEN: $(System.AccessToken) }`'
/** Azure DevOps: the pipeline's own service; the audience is fixed there. */
export const fromAzureDevops: IdTokenSource = async (machine, _cluster, signal) => {
  const name = 'SYSTEM_OIDCREQUESTURI'
  const url = address(variable(machine.env, name, 'this is no pipeline job'), name)
  const bearer = variable(machine.env, 'SYSTEM_ACCESSTOKEN', ACCESS)
  url.searchParams.set('api-version', '7.1')
  const headers = {
    authorization: `Bearer ${bearer}`,
    accept: 'application/json',
    'content-type': 'application/json',
    'content-length': '0',
  }
  const answer = await call(machine, { method: 'POST', url, headers }, signal)
  return jsonField(answer, 'oidcToken', url.host)
}

/** Google Cloud: the metadata server; `format=full` adds the machine to the claims. */
export const fromGoogle: IdTokenSource = async (machine, cluster, signal) => {
  const host = machine.env['GCE_METADATA_HOST'] ?? 'metadata.google.internal'
  const url = address(`http://${host}`, 'GCE_METADATA_HOST')
  url.pathname = '/computeMetadata/v1/instance/service-accounts/default/identity'
  url.searchParams.set('audience', cluster)
  url.searchParams.set('format', 'full')
  const headers = { 'metadata-flavor': 'Google' }
  const request = { method: 'GET', url, headers, metadataService: true } as const
  const answer = await call(machine, request, signal)
  // Some other server at that address would not say so.
  if (answer.headers['metadata-flavor'] !== 'Google')
    throw needed(`${url.host} is not Google's metadata server`)
  return idToken(answer.body.toString('utf8'), url.host)
}

/** What a program prints; found by PATH, without a shell. */
function printed(
  machine: Machine,
  command: readonly string[],
  where: string,
  signal: AbortSignal,
): Promise<string> {
  const [program = '', ...args] = command
  return new Promise((resolve, reject) => {
    const env = Object.fromEntries(
      Object.entries(machine.env).filter(
        (entry): entry is [string, string] => entry[1] !== undefined,
      ),
    )
    const options = { env, signal, timeout: LIMITS.httpTimeout.value, maxBuffer: 65_536 }
    execFile(program, args, options, (error, stdout) => {
      if (signal.aborted) return reject(signal.reason as Error)
      try {
        if (error) throw needed(`${where} failed`, error)
        resolve(idToken(stdout, `the answer of ${program}`))
      } catch (e) {
        reject(isAppError(e) ? e : needed(`${where} gave no id token`, e))
      }
    })
  })
}

export const fromCommand =
  (command: readonly string[]): IdTokenSource =>
  (machine, _cluster, signal) =>
    printed(machine, command, `the command that join_params names (${command[0]})`, signal)

/** Buildkite: its agent's own command. */
export const fromBuildkite: IdTokenSource = (machine, cluster, signal) =>
  printed(
    machine,
    ['buildkite-agent', 'oidc', 'request-token', '--audience', cluster],
    '`buildkite-agent oidc request-token`',
    signal,
  )
