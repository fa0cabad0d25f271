/**
 * The agent's configuration file (contract, section 4): from YAML text to one value with every name resolved. A wrong field is
 * named with its path; a field we lack is refused with what to do instead, because a setting that is silently ignored is a hole.
 */
import { parseDocument } from 'yaml'
import { AppError, type FieldIssue } from '../core/errors.ts'
import type { Labels } from '../core/domain/name.ts'
import { handleName, isResourceName } from '../core/domain/name.ts'
import { SERVICE_KINDS, type ServiceKind } from '../core/domain/service.ts'
import type { AppProtocol } from '../core/domain/resource.ts'
import { isTokenSecret } from '../core/domain/token-secret.ts'
import type { JoinMethodName } from '../core/domain/join-method.ts'
import { LIMITS } from '../core/limits.ts'
import { parse } from '../core/parse.ts'
import { nestsTooDeep } from '../core/yaml-depth.ts'
import { configFile, CONFIG_SUGGESTIONS, type ConfigFile } from './config-schema.ts'

/** Where the secret of a join token is. It is read only when an identity is needed. */
export type TokenSource =
  | { readonly kind: 'value'; readonly secret: string }
  | { readonly kind: 'file'; readonly path: string }

export interface BoundKeypairConfig {
  readonly registrationSecret: TokenSource | undefined
  /** A key made beforehand, in place of one made here. */
  readonly staticKeyPath: string | undefined
}

/** Where the TPM is, and which of its endorsement keys to show; undefined = as found. */
export interface TpmConfig {
  readonly device: string | undefined
  readonly ek: 'rsa' | 'ecc' | undefined
}

/** How the agent proves what it is. */
export type JoinConfig =
  | { readonly method: 'token'; readonly token: TokenSource | undefined }
  | {
      readonly method: Exclude<JoinMethodName, 'token'>
      /** Name of the token: public. */
      readonly tokenName: string
      /** Where the id token is, for methods that let the operator say so. */
      readonly idToken: IdTokenSource | undefined
      /** Of method `bound_keypair` alone. */
      readonly boundKeypair?: BoundKeypairConfig | undefined
      readonly tpm?: TpmConfig | undefined
      readonly azure?: { readonly clientId: string | undefined } | undefined
    }
export type IdTokenSource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'env'; readonly name: string }
  | { readonly kind: 'command'; readonly command: readonly string[] }

export interface CommandLabel {
  readonly name: string
  readonly command: readonly string[]
  /** Milliseconds between two runs. */
  readonly period: number
}

export interface SshServiceConfig {
  readonly labels: Labels
  readonly commands: readonly CommandLabel[]
}

export interface AppTarget {
  readonly name: string
  readonly protocol: AppProtocol
  readonly host: string
  readonly port: number
  readonly labels: Labels
  readonly description: string | undefined
}

export interface AppServiceConfig {
  readonly apps: readonly AppTarget[]
}

export interface LogConfig {
  /** `stderr`, `stdout` or an absolute path. */
  readonly output: string
  readonly severity: 'DEBUG' | 'INFO' | 'WARN' | 'ERROR'
  readonly format: 'text' | 'json'
}

export interface DiagAddress {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
}

export interface AgentConfig {
  readonly nodeName: string
  /** The machine's own name, shown in lists. */
  readonly hostname: string
  readonly dataDir: string
  /** `https://host:port` of the proxy or the API; either will do. */
  readonly proxyServer: string
  readonly join: JoinConfig
  readonly caPins: readonly string[]
  readonly log: LogConfig
  /** Private address of /metrics, /healthz and /readyz; undefined: none. */
  readonly diag: DiagAddress | undefined
  /** undefined = not enabled. */
  readonly ssh: SshServiceConfig | undefined
  readonly app: AppServiceConfig | undefined
}

/** The services that the configuration enables, in the order of SERVICE_KINDS. */
export const enabledServices = (config: AgentConfig): ServiceKind[] =>
  SERVICE_KINDS.filter((kind) => (kind === 'ssh' || kind === 'app') && config[kind] !== undefined)

export const DEFAULT_DATA_DIR = '/var/lib/postern'

export function wrong(path: string, message: string): AppError {
  const issues: FieldIssue[] = [{ path, message }]
  return new AppError('ERR_CONFIG_INVALID', `${path}: ${message}`, { details: { issues } })
}

/** Parses the text of a configuration file. Throws ERR_CONFIG_INVALID or ERR_INPUT_TOO_LARGE. */
export function parseAgentConfig(text: string, machine: { hostname: string }): AgentConfig {
  const value = readYaml(text)
  const suggest = CONFIG_SUGGESTIONS
  return resolve(parse(configFile, value, { code: 'ERR_CONFIG_INVALID', suggest }), machine)
}

/** The value of a YAML document within our limits. Throws as parseAgentConfig. */
export function readYaml(text: string): unknown {
  const max = LIMITS.configFile.value
  if (Buffer.byteLength(text) > max)
    throw new AppError('ERR_INPUT_TOO_LARGE', `the configuration file is larger than ${max} bytes`)
  if (nestsTooDeep(text)) throw wrong('(document)', 'nested too deep')
  const document = parseDocument(text, { uniqueKeys: true, prettyErrors: true })
  const broken = document.errors[0]
  if (broken) throw wrong('(document)', broken.message.split('\n')[0] ?? 'not valid YAML')
  try {
    return document.toJS({ maxAliasCount: LIMITS.yamlAliases.value }) as unknown
  } catch (cause) {
    throw new AppError('ERR_CONFIG_INVALID', '(document): too many aliases', { cause })
  }
}

function resolve(file: ConfigFile, machine: { hostname: string }): AgentConfig {
  if (file.postern && file.teleport)
    throw wrong('teleport', 'it is an alias of postern; give only one of them')
  const section = file.postern ? 'postern' : 'teleport'
  const main = file.postern ?? file.teleport
  if (!main) throw wrong('postern', 'this section is needed')
  const nodeName = nodeNameOf(main.nodename, machine.hostname, section)
  const join = joinOf(main, section)
  const ssh = file.ssh_service?.enabled ? file.ssh_service : undefined
  const app = file.app_service?.enabled ? file.app_service : undefined
  if (!ssh && !app)
    throw wrong('(document)', 'enable at least one service: ssh_service or app_service')
  return {
    nodeName,
    hostname: machine.hostname,
    dataDir: main.data_dir ?? DEFAULT_DATA_DIR,
    proxyServer: main.proxy_server,
    join,
    caPins: main.ca_pin ?? [],
    diag: main.diag_addr,
    log: logOf(main.log),
    ssh: ssh && {
      labels: ssh.labels ?? {},
      commands: (ssh.commands ?? []).map((c) => ({ ...c, period: c.period ?? 60_000 })),
    },
    app: app && {
      apps: (app.apps ?? []).map(({ uri, name, labels, description }) => ({
        ...uri,
        name,
        labels: labels ?? {},
        description,
      })),
    },
  }
}

export const logOf = (given: NonNullable<ConfigFile['postern']>['log']): LogConfig => ({
  output: given?.output ?? 'stderr',
  severity: given?.severity ?? 'INFO',
  format: given?.format ?? 'text',
})

export function nodeNameOf(given: string | undefined, hostname: string, section: string): string {
  if (given !== undefined) return given
  const name = hostname.toLowerCase()
  if (isResourceName(name)) return name
  throw wrong(
    `${section}.nodename`,
    `this machine's host name ${JSON.stringify(name.slice(0, 80))} cannot serve as a node name; set nodename to 1 to 63 of a-z, 0-9, "." and "-"`,
  )
}

export function joinOf(
  main: Pick<NonNullable<ConfigFile['postern']>, 'auth_token' | 'join_params'>,
  section: string,
): JoinConfig {
  const { auth_token: secret, join_params: params } = main
  if (secret !== undefined && params !== undefined)
    throw wrong(`${section}.join_params`, 'give either auth_token or join_params, never both')
  if (params && params.method !== 'token') return delegated(params, params.method, section)
  const path = params ? `${section}.join_params.token_name` : `${section}.auth_token`
  for (const field of ['oidc', 'gitlab', 'bound_keypair', 'tpm', 'azure'] as const)
    if (params?.[field]) throw wrong(`${section}.join_params.${field}`, NOT_THIS_METHOD)
  return { method: 'token', token: tokenOf(secret ?? params?.token_name, path) }
}

function boundKeypairOf({
  bound_keypair: given,
}: NonNullable<NonNullable<ConfigFile['postern']>['join_params']>): BoundKeypairConfig {
  const value = given?.registration_secret_value
  const file = given?.registration_secret_path
  return {
    registrationSecret:
      value !== undefined
        ? { kind: 'value', secret: value }
        : file !== undefined
          ? { kind: 'file', path: file }
          : undefined,
    staticKeyPath: given?.static_key_path,
  }
}

const NOT_THIS_METHOD = 'it belongs to another join method'

function delegated(
  params: NonNullable<NonNullable<ConfigFile['postern']>['join_params']>,
  method: Exclude<JoinMethodName, 'token'>,
  section: string,
): JoinConfig {
  const path = `${section}.join_params`
  const { token_name: tokenName, oidc, gitlab } = params
  if (!handleName.safeParse(tokenName).success)
    throw wrong(`${path}.token_name`, 'use the name of the token, as `postern tokens ls` shows it')
  if (oidc && method !== 'oidc') throw wrong(`${path}.oidc`, NOT_THIS_METHOD)
  if (params.bound_keypair && method !== 'bound_keypair')
    throw wrong(`${path}.bound_keypair`, NOT_THIS_METHOD)
  for (const field of ['tpm', 'azure'] as const)
    if (params[field] && method !== field) throw wrong(`${path}.${field}`, NOT_THIS_METHOD)
  if (gitlab && method !== 'gitlab') throw wrong(`${path}.gitlab`, NOT_THIS_METHOD)
  if (method === 'oidc' && !oidc)
    throw wrong(
      `${path}.oidc`,
      'say where the id token is: token_file, token_env_var_name or command',
    )
  const env = oidc?.token_env_var_name ?? gitlab?.token_env_var_name
  const idToken: IdTokenSource | undefined =
    oidc?.token_file !== undefined
      ? { kind: 'file', path: oidc.token_file }
      : oidc?.command !== undefined
        ? { kind: 'command', command: oidc.command }
        : env === undefined
          ? undefined
          : { kind: 'env', name: env }
  const boundKeypair = method === 'bound_keypair' ? boundKeypairOf(params) : undefined
  const tpm = params.tpm && { device: params.tpm.device, ek: params.tpm.ek }
  const azure = params.azure && { clientId: params.azure.client_id }
  return { method, tokenName, idToken, boundKeypair, tpm, azure }
}

function tokenOf(text: string | undefined, path: string): TokenSource | undefined {
  if (text === undefined) return undefined
  if (text.startsWith('/')) return { kind: 'file', path: text }
  // The value itself is never repeated: it may be a secret that was mistyped.
  if (!isTokenSecret(text))
    throw wrong(
      path,
      'it is neither a join token (pst_join_ and 43 characters) nor an absolute path to a file that holds one',
    )
  return { kind: 'value', secret: text }
}
