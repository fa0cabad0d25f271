/**
 * Where this machine's AWS credentials are, in the order that AWS's own tools look: environment, container endpoint (ECS, EKS Pod
 * Identity), instance metadata. They are asked for at each join and kept nowhere.
 */
import { readFile } from 'node:fs/promises'
import * as z from 'zod'
import { AppError } from '../../../core/errors.ts'
import type { LocalHttp } from '../local-http.ts'
import { openImds } from './imds.ts'
import type { AwsCredentials } from '../../../core/aws/sigv4.ts'

type Env = Readonly<Record<string, string | undefined>>

export interface FoundCredentials extends AwsCredentials {
  /** Where the machine is, when that came to light on the way. */
  readonly region: string | undefined
}
export interface CredentialDeps {
  readonly env: Env
  readonly http: LocalHttp
  readonly signal: AbortSignal
}

const none = (why: string, cause?: unknown): AppError =>
  new AppError('ERR_EVIDENCE_MISSING', `no AWS credentials: ${why}`, { cause })

/** As both endpoints answer it. */
const answer = z.object({
  AccessKeyId: z.string().min(16).max(128),
  SecretAccessKey: z.string().min(1).max(1024),
  Token: z.string().min(1).max(8192),
})

function parseAnswer(text: string, region: string | undefined): FoundCredentials {
  try {
    const found = answer.parse(JSON.parse(text))
    return {
      accessKeyId: found.AccessKeyId,
      secretAccessKey: found.SecretAccessKey,
      sessionToken: found.Token,
      region,
    }
  } catch {
    // The text may hold a secret: it goes nowhere, not even as a cause.
    throw none('the endpoint did not answer with credentials')
  }
}

function fromEnvironment(env: Env): FoundCredentials | undefined {
  const accessKeyId = env['AWS_ACCESS_KEY_ID']
  const secretAccessKey = env['AWS_SECRET_ACCESS_KEY']
  if (!accessKeyId || !secretAccessKey) return undefined
  return {
    accessKeyId,
    secretAccessKey,
    sessionToken: env['AWS_SESSION_TOKEN'] || undefined,
    region: undefined,
  }
}

async function fromContainer({
  env,
  http,
  signal,
}: CredentialDeps): Promise<FoundCredentials | undefined> {
  const relative = env['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI']
  const full = env['AWS_CONTAINER_CREDENTIALS_FULL_URI']
  if (!relative && !full) return undefined
  const file = env['AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE']
  const token = file
    ? (await readFile(file, 'utf8')).trim()
    : env['AWS_CONTAINER_AUTHORIZATION_TOKEN']
  let url
  try {
    url = relative ? new URL(relative, 'http://169.254.170.2') : new URL(full ?? '')
  } catch (cause) {
    throw none('the address of the container endpoint is none', cause)
  }
  const { status, body } = await http({
    method: 'GET',
    url,
    headers: token ? { authorization: token } : {},
    signal,
  })
  if (status !== 200) throw none(`the container endpoint answered ${status}`)
  return parseAnswer(body, undefined)
}

async function fromInstance({ env, http, signal }: CredentialDeps): Promise<FoundCredentials> {
  const imds = await openImds(http, env, signal)
  const roles = await imds.get('meta-data/iam/security-credentials/')
  const role = roles?.split('\n')[0]?.trim()
  if (!role) throw none('this instance has no role')
  const text = await imds.get(`meta-data/iam/security-credentials/${encodeURIComponent(role)}`)
  if (text === undefined) throw none(`the role ${role} has none`)
  const region = await imds.get('meta-data/placement/region')
  return parseAnswer(text, region?.trim())
}

/** Throws ERR_EVIDENCE_MISSING, or what the endpoints were refused with. */
export async function findCredentials(deps: CredentialDeps): Promise<FoundCredentials> {
  return fromEnvironment(deps.env) ?? (await fromContainer(deps)) ?? (await fromInstance(deps))
}
