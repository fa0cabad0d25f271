/**
 * The server's side of AWS Signature Version 4, by the text of the AWS documentation and not by the code under test: whose key signed
 * a request, or why it is refused. Shared by everything here that plays an AWS endpoint.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

export interface KeyHolder {
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
}
export type Signed<K> =
  | { readonly ok: true; readonly accessKeyId: string; readonly holder: K; readonly region: string }
  | { readonly ok: false; readonly code: string }

const SKEW_MS = 15 * 60_000
const hash = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex')
const mac = (key: Buffer | string, text: string): Buffer =>
  createHmac('sha256', key).update(text).digest()
const encode = (text: string): string =>
  encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  )

/** Name and value pairs by code point, each encoded once. */
function canonicalQuery(query: string): string {
  return [...new URLSearchParams(query)]
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .sort()
    .join('&')
}

export function verifySigV4<K extends KeyHolder>(
  request: IncomingMessage,
  body: Buffer,
  keys: ReadonlyMap<string, K>,
  service: string,
): Signed<K> {
  const no = (code: string) => ({ ok: false, code }) as const
  const { headers, method = '', url = '/' } = request
  const auth = String(headers.authorization ?? '')
  if (!auth.startsWith('AWS4-HMAC-SHA256 ')) return no('MissingAuthenticationTokenException')
  const part = (name: string): string => new RegExp(`${name}=([^,\\s]+)`).exec(auth)?.[1] ?? ''
  const [id = '', day = '', region = '', named = '', end = ''] = part('Credential').split('/')
  const holder = keys.get(id)
  if (!holder) return no('UnrecognizedClientException')
  if (named !== service || end !== 'aws4_request') return no('InvalidSignatureException')
  if (holder.sessionToken !== headers['x-amz-security-token'])
    return no('UnrecognizedClientException')
  const date = String(headers['x-amz-date'])
  const at = Date.parse(date.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'))
  if (!(Math.abs(Date.now() - at) < SKEW_MS) || !date.startsWith(day))
    return no('InvalidSignatureException')
  const signed = part('SignedHeaders').split(';')
  const needed = ['host', 'x-amz-date', ...(holder.sessionToken ? ['x-amz-security-token'] : [])]
  if (needed.some((name) => !signed.includes(name))) return no('InvalidSignatureException')
  const [path = '/', query = ''] = url.split('?')
  const canonical = [
    method,
    path.split('/').map(encode).join('/'),
    canonicalQuery(query),
    ...signed.map((name) => `${name}:${String(headers[name]).trim().replaceAll(/ +/g, ' ')}`),
    '',
    signed.join(';'),
    hash(body),
  ].join('\n')
  const scope = `${day}/${region}/${named}/aws4_request`
  let key = mac(`AWS4${holder.secretAccessKey}`, day)
  for (const step of [region, named, 'aws4_request']) key = mac(key, step)
  const wanted = mac(key, `AWS4-HMAC-SHA256\n${date}\n${scope}\n${hash(canonical)}`)
  const given = Buffer.from(part('Signature'), 'hex')
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted))
    return no('InvalidSignatureException')
  return { ok: true, accessKeyId: id, holder, region }
}
