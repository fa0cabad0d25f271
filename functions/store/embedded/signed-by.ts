/**
 * Who signed a request of the DynamoDB protocol: AWS Signature Version 4, checked with the two keys that a store served on this
 * machine gives out. Loopback is reached by every user of the machine, so the address alone proves nothing.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Instant } from '../../../core/clock.ts'

export interface StoreKey {
  readonly id: string
  readonly secret: string
}

/** How far the signer's clock may be off, ms: what AWS allows. */
const WINDOW = 15 * 60_000
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([A-Za-z0-9_-]{1,64})\/(\d{8})\/([a-z0-9-]{1,32})\/dynamodb\/aws4_request, ?SignedHeaders=([a-z0-9;-]{1,1024}), ?Signature=([0-9a-f]{64})$/
/** Without these a signature could be moved to another call, time or place. */
const NEEDED = ['host', 'x-amz-date', 'x-amz-target'] as const

const hmac = (key: string | Buffer, text: string): Buffer =>
  createHmac('sha256', key).update(text, 'utf8').digest()

const timeOf = (text: string): number =>
  Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))

/** The key that signed `POST /` with these headers and this body; undefined: none of ours, or not now. */
export function signedBy(
  headers: IncomingHttpHeaders,
  body: Buffer,
  keys: readonly StoreKey[],
  now: Instant,
): StoreKey | undefined {
  const [, id, day = '', region = '', names = '', signature = ''] =
    AUTHORIZATION.exec(headers.authorization ?? '') ?? []
  const key = keys.find((one) => one.id === id)
  const date = headers['x-amz-date']
  if (!key || typeof date !== 'string' || !date.startsWith(day)) return undefined
  if (!(Math.abs(timeOf(date) - now) <= WINDOW)) return undefined
  const signed = names.split(';')
  if (NEEDED.some((name) => !signed.includes(name))) return undefined
  const value = (name: string): string => {
    const given = headers[name]
    const text = Array.isArray(given) ? given.join(',') : (given ?? '')
    return text.trim().replaceAll(/ +/g, ' ')
  }
  const hash = createHash('sha256').update(body).digest('hex')
  const canonical = [
    ...['POST', '/', ''],
    ...signed.map((name) => `${name}:${value(name)}`),
    ...['', names, hash],
  ].join('\n')
  const scope = `${day}/${region}/dynamodb/aws4_request`
  const digest = createHash('sha256').update(canonical, 'utf8').digest('hex')
  const toSign = ['AWS4-HMAC-SHA256', date, scope, digest].join('\n')
  const dayKey = hmac(`AWS4${key.secret}`, day)
  const signing = hmac(hmac(hmac(dayKey, region), 'dynamodb'), 'aws4_request')
  const expected = hmac(signing, toSign)
  return timingSafeEqual(expected, Buffer.from(signature, 'hex')) ? key : undefined
}
