/**
 * AWS Signature Version 4 in request headers: for the one call that method `iam` signs. Checked against the test vectors that AWS
 * publishes (test/vectors/aws).
 */
import { createHash, createHmac } from 'node:crypto'
import type { Instant } from '../../../core/clock.ts'

export interface AwsCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Of temporary credentials. */
  readonly sessionToken: string | undefined
}

export interface UnsignedRequest {
  readonly method: string
  readonly host: string
  /** As it is sent, encoded; without a query. */
  readonly path: string
  /** Names in lower case; `host` and `x-amz-date` are added. Every one of them is signed. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

const sha256 = (text: string): string => createHash('sha256').update(text, 'utf8').digest('hex')
const hmac = (key: string | Buffer, text: string): Buffer =>
  createHmac('sha256', key).update(text, 'utf8').digest()

/** All headers of the signed request, `authorization` among them. */
export function signV4(
  request: UnsignedRequest,
  scope: { readonly region: string; readonly service: string },
  credentials: AwsCredentials,
  now: Instant,
): Record<string, string> {
  const date = new Date(now).toISOString().replaceAll(/[-:]|\.\d{3}/g, '')
  const day = date.slice(0, 8)
  const headers: Record<string, string> = {
    ...request.headers,
    host: request.host,
    'x-amz-date': date,
    ...(credentials.sessionToken === undefined
      ? {}
      : { 'x-amz-security-token': credentials.sessionToken }),
  }
  const names = Object.keys(headers).sort()
  const signed = names.join(';')
  const canonical = [
    request.method,
    request.path,
    '',
    ...names.map((name) => `${name}:${(headers[name] ?? '').trim().replaceAll(/ +/g, ' ')}`),
    '',
    signed,
    sha256(request.body),
  ].join('\n')
  const where = `${day}/${scope.region}/${scope.service}/aws4_request`
  const toSign = ['AWS4-HMAC-SHA256', date, where, sha256(canonical)].join('\n')
  const dayKey = hmac(`AWS4${credentials.secretAccessKey}`, day)
  const key = hmac(hmac(hmac(dayKey, scope.region), scope.service), 'aws4_request')
  const authorization = [
    `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${where}`,
    `SignedHeaders=${signed}`,
    `Signature=${hmac(key, toSign).toString('hex')}`,
  ].join(', ')
  return { ...headers, authorization }
}
