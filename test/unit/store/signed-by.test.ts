// The store on loopback believes a signature and nothing else: every user of the machine reaches its port.
import { describe, expect, test } from 'vitest'
import { signV4 } from '../../../core/aws/sigv4.ts'
import { instant } from '../../../core/clock.ts'
import { signedBy } from '../../../functions/store/embedded/signed-by.ts'

const NOW = instant(Date.UTC(2026, 10, 26, 12))
const KEY = { id: 'postern-api', secret: 'a-secret' }
const body = '{"TableName":"postern"}'

function signed(over: { service?: string; secret?: string; target?: boolean } = {}) {
  return signV4(
    {
      method: 'POST',
      host: '127.0.0.1:8000',
      path: '/',
      headers: {
        'content-type': 'application/x-amz-json-1.0',
        ...(over.target === false ? {} : { 'x-amz-target': 'DynamoDB_20120810.GetItem' }),
      },
      body,
    },
    { region: 'local', service: over.service ?? 'dynamodb' },
    { accessKeyId: KEY.id, secretAccessKey: over.secret ?? KEY.secret, sessionToken: undefined },
    NOW,
  )
}
const check = (headers: Record<string, string>, sent = body, now = NOW) =>
  signedBy(headers, Buffer.from(sent), [KEY], now)

describe('a signed request to the store', () => {
  test('with the key of the store is its holder’s', () => expect(check(signed())).toEqual(KEY))

  test.each<[string, Record<string, string>, string?, number?]>([
    ['another secret', signed({ secret: 'guessed' })],
    ['another service', signed({ service: 's3' })],
    ['another body', signed(), '{"TableName":"other"}'],
    ['another operation', { ...signed(), 'x-amz-target': 'DynamoDB_20120810.Scan' }],
    ['an operation that is not signed', { ...signed({ target: false }), 'x-amz-target': 'x.Scan' }],
    ['no signature', { ...signed(), authorization: '' }],
    ['a signature of sixteen minutes ago', signed(), body, 16 * 60_000],
    ['a signature of the future', signed(), body, -16 * 60_000],
    [
      'an unknown key',
      {
        ...signed(),
        authorization: signed()['authorization']?.replace('postern-api', 'other') ?? '',
      },
    ],
  ])('with %s is nobody’s', (_why, headers, sent = body, later = 0) =>
    expect(check(headers, sent, instant(NOW + later))).toBeUndefined(),
  )
})
