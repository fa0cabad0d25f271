/** Method `ec2`: documents signed by openssl as AWS signs them, and a corpus that is broken in one place each. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { iso, plus } from '../../core/clock.ts'
import { generateKey } from '../../core/certs/signer.ts'
import { regionSigner } from '../fakes/instance-identity.ts'
import { handClock } from '../support/clock.ts'
import { joinBy, lastJoin, tokenFile, type MethodJoin } from './support/method-join.ts'
import { codeOf, openWorld, pathsOf, type World } from './support/world.ts'

const ACCOUNT = '123456789012'
const clock = handClock()
const ireland = regionSigner('eu-west-1')
const virginia = regionSigner('us-east-1')
const stranger = regionSigner('eu-west-1')

let world: World
let n = 0
beforeAll(async () => {
  world = await openWorld({ clock, aws: { iidKeys: [virginia.key, ireland.key] } })
  const allow = [{ aws_account: ACCOUNT, aws_regions: ['eu-west-1'] }]
  await world.op('POST', '/v1/tokens', tokenFile('fleet', { allow }))
})
afterAll(() => world.close())
beforeEach(() => void (n += 1))

/** As AWS writes it; `pendingTime` is when the instance was started. */
const document = (change: Record<string, unknown> = {}): object => ({
  accountId: ACCOUNT,
  architecture: 'x86_64',
  availabilityZone: 'eu-west-1a',
  imageId: 'ami-0abcdef1234567890',
  instanceId: `i-${String(n).padStart(17, '0')}`,
  instanceType: 't3.micro',
  pendingTime: iso(plus(clock.now(), -60_000)).replace(/\.\d{3}/, ''),
  privateIp: '10.0.0.1',
  region: 'eu-west-1',
  version: '2017-09-30',
  ...change,
})
const join = (rsa2048: string, more: Partial<MethodJoin> = {}) =>
  joinBy(world, {
    method: 'ec2',
    token: 'fleet',
    node: `ec2-${n}`,
    evidence: () => ({ rsa2048 }),
    ...more,
  })

describe('an instance of an account and region that a rule allows', () => {
  test.each([
    ['of indefinite length, without certificates, as AWS sends it', ['-stream', '-nocerts']],
    ['of definite length', ['-nocerts']],
    ['with certificates, which prove nothing and are not read', []],
    ['without signed attributes', ['-noattr', '-nocerts']],
    ['that names its signer by key id', ['-keyid', '-nocerts']],
  ])('joins with a message %s', async (_, options) => {
    const answer = await join(ireland.sign(document(), options))
    expect(answer.status).toBe(200)
    expect(await lastJoin(world)).toMatchObject({
      outcome: 'ok',
      fields: { method: 'ec2', subject: `ec2:${ACCOUNT}-i-${String(n).padStart(17, '0')}` },
    })
  })

  test('IID replay: joins once, the same document admits no second agent, and the first one again', async () => {
    const rsa2048 = ireland.sign(document())
    const keys = { enrolment: generateKey(), key: generateKey() }
    expect((await join(rsa2048, keys)).status).toBe(200)
    expect(codeOf(await join(rsa2048, { node: 'thief' }))).toBe('ERR_JOIN_REFUSED')
    expect((await lastJoin(world))?.reason).toMatch(/shown by another agent before/)
    expect((await join(rsa2048, keys)).status).toBe(200)
  })

  test('joins each of its services with the same document', async () => {
    const rsa2048 = ireland.sign(document())
    const enrolment = generateKey()
    for (const service of ['ssh', 'app'] as const)
      expect((await join(rsa2048, { service, enrolment })).status).toBe(200)
  })

  test('spends nothing when the join is refused for another reason', async () => {
    const rsa2048 = ireland.sign(document())
    await join(ireland.sign(document({ instanceId: 'i-00000000' })), { node: `taken-${n}` })
    expect(codeOf(await join(rsa2048, { node: `taken-${n}` }))).toBe('ERR_NAME_TAKEN')
    expect((await join(rsa2048)).status).toBe(200)
  })

  test('fifty agents that race for one document: exactly one joins', async () => {
    const rsa2048 = ireland.sign(document())
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        join(rsa2048, { node: `race-${n}-${i}`, ip: `198.51.100.${i}` }),
      ),
    )
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(1)
  })
})

describe('a join is refused without a word,', () => {
  const swapped = (): string => {
    // SPIRE 1.14.6: the signature held for one document and the identity was read from another.
    const bytes = Buffer.from(ireland.sign(document()), 'base64')
    const at = bytes.indexOf(ACCOUNT)
    bytes.write('999999999999', at)
    return bytes.toString('base64')
  }
  const refusals: [string, () => string, RegExp][] = [
    [
      'for a document changed after it was signed (SPIRE 1.14.6, CVE-2026-46354)',
      swapped,
      /digest is of other content/,
    ],
    [
      'for a valid signature by a key that is not of AWS (CVE-2026-46354)',
      () => stranger.sign(document()),
      /none of the keys/,
    ],
    // SPIRE 1.14.7: the chain was checked of one certificate in the bag, the signature of another.
    [
      'for a key that only comes with the message (SPIRE 1.14.7)',
      () => stranger.sign(document(), []),
      /none of the keys/,
    ],
    ['for the key of another region', () => virginia.sign(document()), /key of us-east-1/],
    [
      'for another account',
      () => ireland.sign(document({ accountId: '999999999999' })),
      /no rule allows account/,
    ],
    [
      'for another region',
      () => virginia.sign(document({ region: 'us-east-1' })),
      /no rule allows region us-east-1/,
    ],
    [
      'for an instance started too long ago',
      () => ireland.sign(document({ pendingTime: iso(plus(clock.now(), -6 * 60_000)) })),
      /too long/,
    ],
    [
      'for an instance started in the future',
      () => ireland.sign(document({ pendingTime: iso(plus(clock.now(), 2 * 60_000)) })),
      /future/,
    ],
    ['for no time', () => ireland.sign(document({ pendingTime: undefined })), /pendingTime/],
    [
      'for an account that is a number',
      () => ireland.sign(document({ accountId: 123456789012 })),
      /accountId/,
    ],
    [
      'for an instance id with a path',
      () => ireland.sign(document({ instanceId: 'i-0/../../1' })),
      /instanceId/,
    ],
    [
      'for a field named twice',
      () => ireland.sign('{"accountId":"1","accountId":"2"}'),
      /named twice/,
    ],
    ['for a text that is not JSON', () => ireland.sign('hello'), /not JSON/],
    [
      'for a signature apart from its content',
      () => ireland.sign(document(), ['-nocerts', '-nodetach', '-outform', 'PEM']),
      /CMS|DER/,
    ],
    ['for SHA-1', () => ireland.sign(document(), ['-md', 'sha1', '-nocerts']), /not SHA-256/],
    [
      'for a message cut short',
      () => Buffer.from(ireland.sign(document()), 'base64').subarray(0, -9).toString('base64'),
      /CMS|DER/,
    ],
    [
      'for bytes after the message',
      () =>
        Buffer.concat([Buffer.from(ireland.sign(document()), 'base64'), Buffer.of(0)]).toString(
          'base64',
        ),
      /trailing/,
    ],
    [
      'for nothing but nesting',
      () => Buffer.alloc(2000, Buffer.of(0x30, 0x80)).toString('base64'),
      /nested too deep/,
    ],
    [
      'for a length beyond the end',
      () => Buffer.of(0x30, 0x83, 0xff, 0xff, 0xff, 0).toString('base64'),
      /truncated/,
    ],
    ['for an empty message', () => 'AA==', /CMS/],
    ['for line ends in the text', () => `${ireland.sign(document())}\n`, /evidence: rsa2048/],
    ['for a message that is too long', () => 'A'.repeat(16_388), /evidence: rsa2048/],
  ]
  test.each(refusals)('%s', async (_, make, reason) => {
    expect(codeOf(await join(make()))).toBe('ERR_JOIN_REFUSED')
    expect((await lastJoin(world))?.reason).toMatch(reason)
  })

  test('for two signers, of which the second is of AWS', async () => {
    const one = Buffer.from(stranger.sign(document(), ['-nocerts']), 'base64')
    const two = Buffer.from(ireland.sign(document(), ['-nocerts']), 'base64')
    expect((await join(Buffer.concat([one, two]).toString('base64'))).status).toBe(403)
    expect((await lastJoin(world))?.reason).toMatch(/trailing/)
  })
})

test('a token with rules and no method is one of ec2, and its lifetime of documents is shown', async () => {
  const { body } = await world.op('GET', '/v1/tokens/fleet')
  expect(body).toMatchObject({ spec: { join_method: 'ec2', aws_iid_ttl: '5m', max_uses: null } })
  const arn = tokenFile('arn', {
    allow: [{ aws_account: ACCOUNT, aws_arn: 'arn:aws:iam::*:user/x' }],
  })
  expect(pathsOf(await world.op('POST', '/v1/tokens', arn))).toEqual(['spec.allow.0.aws_arn'])
  const role = tokenFile('role', { allow: [{ aws_account: ACCOUNT, aws_role: 'arn' }] })
  expect(pathsOf(await world.op('POST', '/v1/tokens', role))).toEqual(['spec.allow.0.aws_role'])
})
