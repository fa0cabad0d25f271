/** What a function is told by its environment. A variable that is missing or wrong is named; there are no defaults for keys. */
import * as z from 'zod'
import type { AwsCredentials } from '../core/aws/sigv4.ts'
import { resourceName } from '../core/domain/name.ts'
import { AppError } from '../core/errors.ts'
import { parse } from '../core/parse.ts'

const list = z
  .string()
  .transform((text) => text.split(',').filter((one) => one !== ''))
  .pipe(z.array(z.string()).min(1))
const keyId = z.string().min(1).max(2048)

const archive = z.strictObject({
  bucket: z.string().min(3).max(63),
  key: z.string().min(1).max(1024),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
})
const downloads = z
  .string()
  .max(4096)
  .transform((text, ctx): unknown => {
    try {
      return JSON.parse(text)
    } catch {
      ctx.addIssue({ code: 'custom', message: 'is no JSON' })
      return z.NEVER
    }
  })
  .pipe(z.strictObject({ x64: archive, arm64: archive }))

/** Name of the variable, its form, and which verbs have it. infra gives each function exactly these. */
export const FUNCTION_ENV = z.object({
  /** The DynamoDB table. Every verb. */
  POSTERN_TABLE: z.string().min(3).max(255),
  /** Public origins, commas between, the API's own first. Every verb. */
  POSTERN_ORIGINS: list.pipe(z.array(z.url({ protocol: /^https$/ }))),
  /** `host:port` of the proxies, commas between. Every verb. */
  POSTERN_PROXIES: list,
  /** Name of the cluster that the first bootstrap makes: bootstrap. */
  POSTERN_CLUSTER: resourceName.optional(),
  /** HMAC key in KMS that sealing secrets are made of: api, join. */
  POSTERN_SEAL_KEY: keyId.optional(),
  /** Signing keys in KMS: join, login, policy respectively; bootstrap reads the public halves of all three. */
  POSTERN_HOST_CA_KEY: keyId.optional(),
  POSTERN_USER_CA_KEY: keyId.optional(),
  POSTERN_POLICY_KEY: keyId.optional(),
  /** Where the agent's archives are, JSON: api. */
  POSTERN_DOWNLOADS: downloads.optional(),
  /** Set by Lambda. */
  AWS_REGION: z.string().optional(),
})
/** What the functions of a deployment itself are told: they serve nobody and know neither origins nor proxies. */
export const DEPLOY_ENV = z.object({
  POSTERN_TABLE: z.string().min(3).max(255),
  /** Name of the one token that a stack declares: declare. */
  POSTERN_TOKEN_NAME: z.string().optional(),
  /** Bucket of the archived audit log: archive. */
  POSTERN_RECORDS_BUCKET: z.string().optional(),
  /** Set by Lambda. */
  AWS_REGION: z.string().optional(),
})
export type DeployEnv = z.output<typeof DEPLOY_ENV>
export const readDeployEnv = (env: NodeJS.ProcessEnv = process.env): DeployEnv =>
  parse(DEPLOY_ENV, env, { code: 'ERR_CONFIG_INVALID' })

/** Set by Lambda: as whom a function runs. Changes while it is warm. */
const OWN_CREDENTIALS = z.object({
  AWS_ACCESS_KEY_ID: z.string().min(1),
  AWS_SECRET_ACCESS_KEY: z.string().min(1),
  AWS_SESSION_TOKEN: z.string().optional(),
})
export function ownCredentials(env: NodeJS.ProcessEnv = process.env): AwsCredentials {
  const own = parse(OWN_CREDENTIALS, env, { code: 'ERR_CONFIG_INVALID' })
  return {
    accessKeyId: own.AWS_ACCESS_KEY_ID,
    secretAccessKey: own.AWS_SECRET_ACCESS_KEY,
    sessionToken: own.AWS_SESSION_TOKEN,
  }
}

export type FunctionEnv = z.output<typeof FUNCTION_ENV>

export const readEnv = (env: NodeJS.ProcessEnv = process.env): FunctionEnv =>
  parse(FUNCTION_ENV, env, { code: 'ERR_CONFIG_INVALID' })

/** A variable that this verb cannot do without. */
export function need<N extends string>(
  env: Readonly<Partial<Record<N, unknown>>>,
  name: N,
): string {
  const value = env[name]
  if (typeof value === 'string') return value
  throw new AppError('ERR_CONFIG_INVALID', `${name}: is not set`)
}
