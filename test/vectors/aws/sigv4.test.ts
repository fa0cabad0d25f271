// Our signatures are those of the test suite that AWS publishes for Signature Version 4 (names are theirs).
import { expect, test } from 'vitest'
import { signV4 } from '../../../agent/join/aws/sigv4.ts'
import { instant } from '../../../core/clock.ts'

const credentials = {
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
  sessionToken: undefined,
}
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
