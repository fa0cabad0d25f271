/** Methods `iam` and `ec2` against the contract of all methods. The long corpora are in test/api/join-iam and join-ec2. */
import { signV4 } from '../../../core/aws/sigv4.ts'
import { iso } from '../../../core/clock.ts'
import type { JoinToken } from '../../../core/domain/token.ts'
import { CHALLENGE_HEADER, STS_BODY, STS_CONTENT_TYPE } from '../../../core/join/iam.ts'
import { regionSigner } from '../../fakes/instance-identity.ts'
import { joinMethodContract, now } from './method.ts'

const ACCOUNT = '123456789012'
const resource = {
  name: 'fleet',
  aws: { allow: [{ account: ACCOUNT, arn: undefined, regions: undefined }], iidTtl: 300_000 },
} as unknown as JoinToken

joinMethodContract({
  name: 'iam',
  setup(sealed) {
    const host = 'sts.eu-west-1.amazonaws.com'
    const call = (body: string, challenge = sealed) => {
      const headers = { 'content-type': STS_CONTENT_TYPE, [CHALLENGE_HEADER]: challenge }
      const credentials = {
        accessKeyId: 'AKIAEXAMPLEEXAMPLE00',
        secretAccessKey: 's',
        sessionToken: undefined,
      }
      const scope = { region: 'eu-west-1', service: 'sts' }
      const signed = signV4(
        { method: 'POST', host, path: '/', headers, body },
        scope,
        credentials,
        now,
      )
      return { url: `https://${host}/`, method: 'POST', headers: Object.entries(signed), body }
    }
    const result = { Account: ACCOUNT, Arn: `arn:aws:iam::${ACCOUNT}:user/ci`, UserId: 'AIDA' }
    const answer = { GetCallerIdentityResponse: { GetCallerIdentityResult: result } }
    return {
      token: 'fleet',
      joinToken: resource,
      deps: {
        sts: {
          call: async () => ({
            status: 200,
            contentType: 'application/json',
            body: Buffer.from(JSON.stringify(answer)),
          }),
        },
      },
      evidence: call(STS_BODY),
      broken: {
        'a challenge of another join': call(STS_BODY, 'another'),
        'another body': call('Action=AssumeRole'),
        'another host': { ...call(STS_BODY), url: 'https://sts.example.com/' },
        'another method': { ...call(STS_BODY), method: 'GET' },
      },
    }
  },
})

joinMethodContract({
  name: 'ec2',
  setup() {
    const signer = regionSigner('eu-west-1')
    const document = {
      accountId: ACCOUNT,
      region: 'eu-west-1',
      instanceId: 'i-0123456789abcdef0',
      pendingTime: iso(now),
    }
    const rsa2048 = signer.sign(document)
    return {
      token: 'fleet',
      joinToken: resource,
      deps: { iidKeys: () => [signer.key] },
      evidence: { rsa2048 },
      broken: {
        'the key of another region': { rsa2048: signer.sign({ ...document, region: 'us-east-1' }) },
        'an old document': {
          rsa2048: signer.sign({ ...document, pendingTime: iso((now - 301_000) as typeof now) }),
        },
        'a message cut short': { rsa2048: rsa2048.slice(0, -8) },
        'a message in another alphabet': {
          rsa2048: rsa2048.replaceAll('+', '-').replaceAll('/', '_'),
        },
        'a list': { rsa2048: [rsa2048] },
      },
    }
  },
})
