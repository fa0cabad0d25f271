/**
 * AWS Signature Version 4, in request headers and in the query of a presigned URL: for the few calls that are made without the SDK,
 * by machines and containers that do not carry it. Checked against the vectors that AWS publishes (test/vectors/aws).
 */
import { createHash, createHmac } from 'node:crypto'
import type { Instant } from '../clock.ts'

export interface AwsCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Of temporary credentials. */
  readonly sessionToken: string | undefined
}

export interface SigningScope {
  readonly region: string
  readonly service: string
}

export interface UnsignedRequest {
  readonly method: string
  readonly host: string
  /** As it is sent, encoded; without a query. */
  readonly path: string
  /** Names and values, not yet encoded. Default: none. */
  readonly query?: Readonly<Record<string, string>> | undefined
  /** Names in lower case; `host` and `x-amz-date` are added. Every one of them is signed. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array
}

const UNSIGNED = 'UNSIGNED-PAYLOAD'
const sha256 = (data: string | Uint8Array): string =>
  createHash('sha256').update(data).digest('hex')
const hmac = (key: string | Buffer, text: string): Buffer =>
  createHmac('sha256', key).update(text, 'utf8').digest()

/** RFC 3986 section 2.3 leaves fewer characters bare than `encodeURIComponent` does. */
const encode = (text: string): string =>
  encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  )
/** The query in the order and spelling that is signed, to be sent as it is. */
export const queryOf = (query: Readonly<Record<string, string>> = {}): string =>
  Object.entries(query)
    .map(([name, value]) => [encode(name), encode(value)] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map((pair) => pair.join('='))
    .join('&')

const dateOf = (now: Instant): string => new Date(now).toISOString().replaceAll(/[-:]|\.\d{3}/g, '')
const scopeOf = (date: string, { region, service }: SigningScope): string =>
  `${date.slice(0, 8)}/${region}/${service}/aws4_request`

function signature(
  request: Pick<UnsignedRequest, 'method' | 'path' | 'query' | 'headers'>,
  payload: string,
  at: { readonly date: string; readonly scope: SigningScope },
  secretAccessKey: string,
): { readonly names: string; readonly signature: string } {
  const sorted = Object.keys(request.headers).sort()
  const names = sorted.join(';')
  const canonical = [
    request.method,
    request.path,
    queryOf(request.query),
    ...sorted.map(
      (name) => `${name}:${(request.headers[name] ?? '').trim().replaceAll(/ +/g, ' ')}`,
    ),
    '',
    names,
    payload,
  ].join('\n')
  const toSign = ['AWS4-HMAC-SHA256', at.date, scopeOf(at.date, at.scope), sha256(canonical)].join(
    '\n',
  )
  const dayKey = hmac(`AWS4${secretAccessKey}`, at.date.slice(0, 8))
  const key = hmac(hmac(hmac(dayKey, at.scope.region), at.scope.service), 'aws4_request')
  return { names, signature: hmac(key, toSign).toString('hex') }
}

/** All headers of the signed request, `authorization` among them. S3 wants `x-amz-content-sha256` among those given. */
export function signV4(
  request: UnsignedRequest,
  scope: SigningScope,
  credentials: AwsCredentials,
  now: Instant,
): Record<string, string> {
  const date = dateOf(now)
  const headers: Record<string, string> = {
    ...request.headers,
    host: request.host,
    'x-amz-date': date,
    ...(credentials.sessionToken === undefined
      ? {}
      : { 'x-amz-security-token': credentials.sessionToken }),
  }
  const made = signature(
    { ...request, headers },
    sha256(request.body),
    { date, scope },
    credentials.secretAccessKey,
  )
  const authorization = [
    `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${scopeOf(date, scope)}`,
    `SignedHeaders=${made.names}`,
    `Signature=${made.signature}`,
  ].join(', ')
  return { ...headers, authorization }
}

/** A GET of `https://<host><path>` that anybody may make until `expires` ms after `now`; whoever holds the URL holds the right. */
export function presignV4(
  request: { readonly host: string; readonly path: string; readonly expires: number },
  scope: SigningScope,
  credentials: AwsCredentials,
  now: Instant,
): string {
  const date = dateOf(now)
  const query: Record<string, string> = {
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${credentials.accessKeyId}/${scopeOf(date, scope)}`,
    'X-Amz-Date': date,
    'X-Amz-Expires': String(Math.floor(request.expires / 1000)),
    'X-Amz-SignedHeaders': 'host',
    ...(credentials.sessionToken === undefined
      ? {}
      : { 'X-Amz-Security-Token': credentials.sessionToken }),
  }
  const made = signature(
    { method: 'GET', path: request.path, query, headers: { host: request.host } },
    UNSIGNED,
    { date, scope },
    credentials.secretAccessKey,
  )
  return `https://${request.host}${request.path}?${queryOf(query)}&X-Amz-Signature=${made.signature}`
}
