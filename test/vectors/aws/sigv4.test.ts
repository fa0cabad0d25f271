// Our signatures are those of the test suite that AWS publishes for Signature Version 4 (names are theirs).
import { expect, test } from 'vitest'
import { presignV4, queryOf, signV4 } from '../../../core/aws/sigv4.ts'
import { instant } from '../../../core/clock.ts'

const credentials = {
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
  sessionToken: undefined,
}
/** Of the examples in the documentation of S3. */
const example = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  sessionToken: undefined,
}
const may2013 = instant(Date.UTC(2013, 4, 24))
const S3 = { region: 'us-east-1', service: 's3' }
const now = instant(Date.UTC(2015, 7, 30, 12, 36, 0))

test.each([
  [
    'get-vanilla',
    'GET',
    {},
    '',
    '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31',
  ],
  [
    'post-vanilla',
    'POST',
    {},
    '',
    '5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b',
  ],
  [
    'get-header-value-trim',
    'GET',
    { 'my-header1': ' value1', 'my-header2': ' "a   b   c"' },
    '',
    'acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736',
  ],
  [
    'post-x-www-form-urlencoded',
    'POST',
    { 'content-type': 'application/x-www-form-urlencoded' },
    'Param1=value1',
    'ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a',
  ],
])('%s', (_, method, headers, body, signature) => {
  const signed = signV4(
    { method, host: 'example.amazonaws.com', path: '/', headers, body },
    { region: 'us-east-1', service: 'service' },
    credentials,
    now,
  )
  const names = ['host', 'x-amz-date', ...Object.keys(headers)].sort().join(';')
  expect(signed['authorization']).toBe(
    `AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=${names}, Signature=${signature}`,
  )
})

test('S3, GET Object with a range', () => {
  const signed = signV4(
    {
      method: 'GET',
      host: 'examplebucket.s3.amazonaws.com',
      path: '/test.txt',
      headers: {
        range: 'bytes=0-9',
        'x-amz-content-sha256': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
      },
      body: '',
    },
    S3,
    example,
    may2013,
  )
  expect(signed['authorization']).toContain(
    'Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  )
})

test('S3, GET Bucket lifecycle: a query parameter without a value', () => {
  const signed = signV4(
    {
      method: 'GET',
      host: 'examplebucket.s3.amazonaws.com',
      path: '/',
      query: { lifecycle: '' },
      headers: {
        'x-amz-content-sha256': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
      },
      body: '',
    },
    S3,
    example,
    may2013,
  )
  expect(signed['authorization']).toContain(
    'Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
  )
})

test('S3, a presigned URL', () => {
  const url = presignV4(
    { host: 'examplebucket.s3.amazonaws.com', path: '/test.txt', expires: 86_400_000 },
    S3,
    example,
    may2013,
  )
  expect(url).toContain(
    'X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
  )
})

test('names and values of a query are encoded as RFC 3986 has it, and sorted by name', () => {
  expect(queryOf({ b: "a b!'()*~", a: 'é/' })).toBe('a=%C3%A9%2F&b=a%20b%21%27%28%29%2A~')
})
