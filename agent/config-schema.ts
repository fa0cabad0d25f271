/** The shape of the agent's configuration file, field by field, and what to say about fields of other versions. */
import { isIP } from 'node:net'
import * as z from 'zod'
import { caPin } from '../core/domain/cluster.ts'
import { labels, resourceName } from '../core/domain/name.ts'
import type { AppProtocol } from '../core/domain/resource.ts'
import { JOIN_METHODS } from '../core/domain/join-method.ts'
import { parseDuration } from '../core/duration.ts'
import { LIMITS } from '../core/limits.ts'

const YES: readonly unknown[] = [true, 'true', 'yes', 'on']
const NO: readonly unknown[] = [false, 'false', 'no', 'off']
/** `yes` and `no` are plain texts in YAML 1.2, and existing agent files use them. */
const flag = z.unknown().transform((value, ctx): boolean => {
  if (YES.includes(value)) return true
  if (NO.includes(value)) return false
  ctx.addIssue({ code: 'custom', message: 'say true or false' })
  return z.NEVER
})

const isAbsolute = (p: string): boolean =>
  p.startsWith('/') && !p.includes('\0') && p.length <= 4096
export const absolutePath = z.string().refine(isAbsolute, 'use an absolute path')

const HOST = /^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])$/
const port = (text: string): number | undefined =>
  /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535 ? Number(text) : undefined

/** `host`, `host:port` or `https://host:port`; without a port it is 443. */
export const proxyServer = z.string().transform((text, ctx): string => {
  const bare = text.replace(/^https:\/\//, '').replace(/\/$/, '')
  const match = /^(.*?)(?::(\d+))?$/.exec(bare)
  const host = match?.[1] ?? ''
  const number = match?.[2] === undefined ? 443 : port(match[2])
  if (HOST.test(host) && number !== undefined) return `https://${host.toLowerCase()}:${number}`
  ctx.addIssue({ code: 'custom', message: 'use host:port or https://host:port' })
  return z.NEVER
})

/** `host:port` with a literal address, or a port alone, which means loopback. */
const diagAddress = z.union([z.string(), z.int()]).transform((given, ctx) => {
  const match = /^(?:(.*):)?(\d{1,5})$/.exec(String(given))
  const host = (match?.[1] ?? '127.0.0.1').replaceAll(/[[\]]/g, '')
  const number = Number(match?.[2])
  if (match && number <= 65_535 && (isIP(host) !== 0 || host === 'localhost'))
    return { host, port: number }
  ctx.addIssue({ code: 'custom', message: 'use 127.0.0.1:3000, or another address and port' })
  return z.NEVER
})

const target = z.string().transform((text, ctx) => {
  const match = /^(tcp|http):\/\/(.*?)(?::(\d+))?\/?$/.exec(text)
  const protocol = match?.[1] as AppProtocol | undefined
  const host = match?.[2] ?? ''
  const number = match?.[3] === undefined ? (protocol === 'http' ? 80 : undefined) : port(match[3])
  if (protocol && HOST.test(host) && number !== undefined)
    return { protocol, host: host.toLowerCase().replaceAll(/[[\]]/g, ''), port: number }
  ctx.addIssue({
    code: 'custom',
    message: 'use tcp://host:port or http://host:port, without a path',
  })
  return z.NEVER
})

const MIN_PERIOD = 5000
const period = z.string().transform((text, ctx): number => {
  const ms = parseDuration(text)
  if (ms !== undefined && ms >= MIN_PERIOD) return ms
  ctx.addIssue({ code: 'custom', message: 'use a duration of at least 5s, such as 1m or 10m' })
  return z.NEVER
})

const envName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'use the name of an environment variable')

/** `generic_oidc`, method and block, as other files call it, is our `oidc`. */
function inOurWords(params: unknown): unknown {
  if (typeof params !== 'object' || params === null || Array.isArray(params)) return params
  const { method, generic_oidc: block, ...rest } = params as Readonly<Record<string, unknown>>
  if (method !== 'generic_oidc') return params
  return { ...rest, method: 'oidc', ...(block === undefined ? {} : { oidc: block }) }
}

/** The section that every part of the system has: who it is, where its files are, how it joins. */
export const identitySection = z.strictObject({
  nodename: resourceName.optional(),
  data_dir: absolutePath.optional(),
  diag_addr: diagAddress.optional(),
  proxy_server: proxyServer,
  auth_token: z.string().min(1).max(4096).optional(),
  join_params: z
    .preprocess(
      inOurWords,
      z.strictObject({
        method: z.enum(JOIN_METHODS, `use one of the join methods: ${JOIN_METHODS.join(', ')}`),
        token_name: z.string().min(1).max(4096),
        bound_keypair: z
          .strictObject({
            registration_secret_value: z.string().min(1).max(256).optional(),
            registration_secret_path: absolutePath.optional(),
            static_key_path: absolutePath.optional(),
          })
          .refine(
            (b) =>
              b.registration_secret_value === undefined || b.registration_secret_path === undefined,
            'give registration_secret_value or registration_secret_path, never both',
          )
          .optional(),
        oidc: z
          .strictObject({
            token_file: absolutePath.optional(),
            token_env_var_name: envName.optional(),
            command: z
              .array(z.string().min(1).max(4096))
              .min(1, 'name the program')
              .max(64)
              .optional(),
          })
          .refine(
            (o) => Object.values(o).filter((source) => source !== undefined).length === 1,
            'give one of token_file, token_env_var_name, command',
          )
          .optional(),
        gitlab: z.strictObject({ token_env_var_name: envName }).optional(),
        azure: z.strictObject({ client_id: z.uuid().optional() }).optional(),
        tpm: z
          .strictObject({
            device: absolutePath.optional(),
            ek: z.enum(['rsa', 'ecc'], 'use rsa or ecc').optional(),
          })
          .optional(),
      }),
    )
    .optional(),
  ca_pin: z
    .union([caPin.transform((pin) => [pin]), z.array(caPin).min(1).max(16)], {
      error: 'use sha256: and 64 hexadecimal digits, or a list of them',
    })
    .optional(),
  log: z
    .strictObject({
      output: z
        .string()
        .refine(
          (text) => ['stderr', 'stdout'].includes(text) || isAbsolute(text),
          'use stderr, stdout or an absolute path',
        )
        .optional(),
      severity: z
        .string()
        .transform((word) => word.toUpperCase())
        .pipe(z.enum(['DEBUG', 'INFO', 'WARN', 'ERROR'], 'use DEBUG, INFO, WARN or ERROR'))
        .optional(),
      format: z
        .union(
          [
            z.enum(['text', 'json']),
            z.strictObject({ output: z.enum(['text', 'json']) }).transform((f) => f.output),
          ],
          { error: 'use text or json' },
        )
        .optional(),
    })
    .optional(),
})

const commandLabel = z.strictObject({
  name: z
    .string()
    .min(1)
    .max(LIMITS.labelKey.value)
    .regex(/^[A-Za-z0-9_./-]+$/, 'use letters, digits and "_ . / -"'),
  command: z.array(z.string().max(4096)).min(1, 'name the program').max(64),
  period: period.optional(),
})

const unique = (names: readonly string[]): boolean => new Set(names).size === names.length

const sshService = z.strictObject({
  enabled: flag,
  labels: labels.optional(),
  commands: z
    .array(commandLabel)
    .max(LIMITS.labels.value)
    .refine((list) => unique(list.map((c) => c.name)), 'a label is named twice')
    .optional(),
})

const appService = z.strictObject({
  enabled: flag,
  apps: z
    .array(
      z.strictObject({
        name: resourceName,
        uri: target,
        labels: labels.optional(),
        description: z.string().max(1024).optional(),
      }),
    )
    .max(LIMITS.resourcesPerAgent.value)
    .refine((list) => unique(list.map((a) => a.name)), 'an app is named twice')
    .optional(),
})

/** A service this version does not run: its section may stay in the file as long as it is off. */
const later = (...keys: string[]) =>
  z.strictObject({
    enabled: flag.refine((on) => !on, 'not in this version; set it to false'),
    ...Object.fromEntries(keys.map((key) => [key, z.unknown().optional()])),
  })

export const configFile = z.strictObject({
  version: z.enum(['v1', 'v2', 'v3'], 'use version: v1'),
  postern: identitySection.optional(),
  /** An existing agent's file works as it is. */
  teleport: identitySection.optional(),
  ssh_service: sshService.optional(),
  app_service: appService.optional(),
  db_service: later('databases', 'resources').optional(),
  kubernetes_service: later('kubeconfig_file', 'resources', 'labels').optional(),
  discovery_service: later('discovery_group', 'aws').optional(),
  auth_service: later().optional(),
  proxy_service: later().optional(),
})
export type ConfigFile = z.output<typeof configFile>

const LATER = 'is not supported in this version; remove it'
/** By the last part of the path: fields people know from elsewhere. */
export const CONFIG_SUGGESTIONS: Readonly<Record<string, string>> = {
  resources: 'dynamic apps are not supported in this version; list them under apps',
  auth_server: 'use proxy_server: host:port',
  auth_servers: 'use proxy_server: host:port',
  token: 'use auth_token',
  node_name: 'use nodename',
  advertise_ip: 'agents dial out and are never dialled; remove it',
  listen_addr: 'agents dial out and never listen; remove it',
  public_addr: 'agents dial out and are never dialled; remove it',
  pam: `pam ${LATER}`,
  enhanced_recording: `enhanced_recording ${LATER}`,
  x11: `x11 ${LATER}`,
  permit_user_env: `permit_user_env ${LATER}`,
  rewrite: `rewrite ${LATER}`,
  insecure_skip_verify: `insecure_skip_verify ${LATER}`,
  static_labels: 'use labels',
  dynamic_labels: 'use ssh_service.commands',
}
