/** The few calls of AWS that a proxy's task makes before and beside the proxy itself, with the credentials of its role. */
import { signV4, type AwsCredentials } from '../../core/aws/sigv4.ts'
import { instant } from '../../core/clock.ts'

const TIMEOUT_MS = 20_000
const CREDENTIALS_HOST = 'http://169.254.170.2'

type Env = Readonly<Record<string, string | undefined>>

/** Of the task's role, from the endpoint that ECS puts beside the task. */
export async function taskCredentials(env: Env): Promise<AwsCredentials> {
  const relative = env['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI']
  const full = env['AWS_CONTAINER_CREDENTIALS_FULL_URI']
  const url = relative ? `${CREDENTIALS_HOST}${relative}` : full
  if (!url) throw new Error('no credentials: this is no task of ECS')
  const answer = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) })
  if (!answer.ok) throw new Error(`the credentials endpoint answered ${answer.status}`)
  const given = (await answer.json()) as Record<string, string>
  const { AccessKeyId = '', SecretAccessKey = '', Token } = given
  return { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: Token }
}

export interface AwsCall {
  readonly method: 'GET' | 'POST'
  /** `https://host`, or that of an emulator. */
  readonly origin: string
  readonly path: string
  readonly service: string
  readonly region: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Bytes of an answer, at most. */
  readonly max: number
}

const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/** The answer's bytes. Throws with the status of a refusal; never with a header or a secret. */
export async function callAws(call: AwsCall, credentials: AwsCredentials): Promise<Buffer> {
  const url = new URL(call.path, call.origin)
  const headers = signV4(
    {
      method: call.method,
      host: url.host,
      path: url.pathname,
      headers: {
        ...call.headers,
        ...(call.service === 's3' ? { 'x-amz-content-sha256': EMPTY } : {}),
      },
      body: call.body ?? '',
    },
    call,
    credentials,
    instant(Date.now()),
  )
  const answer = await fetch(url, {
    method: call.method,
    headers: Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'host')),
    ...(call.body === undefined ? {} : { body: call.body }),
    redirect: 'error',
    signal: AbortSignal.timeout(TIMEOUT_MS),
  })
  if (!answer.ok) throw new Error(`${call.service} answered ${answer.status}`)
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > call.max) throw new Error(`${call.service} answered more than ${call.max} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
