/** Method `azure`: documents signed by openssl as Azure signs them, real HTTPS to a test Azure, and a corpus broken in one place each. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { generateKey } from '../../core/certs/signer.ts'
import { plus } from '../../core/clock.ts'
import { azureNonce } from '../../core/join/azure/method.ts'
import type { JoinKeys } from '../../core/join/binding.ts'
import {
  fakeAzure,
  resourceId,
  signAttested,
  VM,
  type FakeAzure,
  type Signer,
} from '../fakes/azure.ts'
import { handClock } from '../support/clock.ts'
import { foreignCa, foreignKey } from '../support/foreign-ca.ts'
import { hmacWithPublicKey, signIdToken, signingKey } from '../support/id-tokens.ts'
import { joinBy, lastJoin, tokenFile, type MethodJoin } from './support/method-join.ts'
import { codeOf, openWorld, pathsOf, type Answer, type World } from './support/world.ts'

const clock = handClock()
let world: World
let azure: FakeAzure
let n = 0
beforeAll(async () => {
  azure = await fakeAzure(clock)
  world = await openWorld({ clock, azure, issuers: { at: azure.at } })
  const allow = [
    { subscription: VM.subscription, resource_groups: ['other', 'web-rg'] },
    { subscription: '11111111-2222-4333-8444-555555555555', tenant: VM.tenant },
  ]
  const file = tokenFile('vms', { join_method: 'azure', azure: { allow } })
  const made = await world.op('POST', '/v1/tokens', file)
  expect(made.status, made.text).toBe(201)
})
afterAll(async () => {
  await world.close()
  await azure.close()
})
beforeEach(() => void (n += 1))

interface Evidence {
  readonly attested: string
  readonly access_token: string
}
const honest = (challenge: string, keys: JoinKeys): Evidence => ({
  attested: signAttested(azure.document(azureNonce(challenge, keys)), azure.signer),
  access_token: azure.accessToken(),
})
type Change = (challenge: string, keys: JoinKeys) => Partial<Evidence> & Record<string, unknown>
const join = (change?: Change, more: Partial<MethodJoin> = {}): Promise<Answer> =>
  joinBy(world, {
    method: 'azure',
    token: 'vms',
    node: `azure-${n}`,
    answers: (challenge, _, keys) => ({ ...honest(challenge, keys), ...change?.(challenge, keys) }),
    ...more,
  })
/** The document with something else in it, or signed by somebody else. */
const document =
  (change: object, signer?: () => Signer, options?: readonly string[]): Change =>
  (challenge, keys) => ({
    attested: signAttested(
      azure.document(azureNonce(challenge, keys), VM, change),
      signer?.() ?? azure.signer,
      options,
    ),
  })
const token =
  (change: object): Change =>
  () => ({ access_token: azure.accessToken(VM, change) })

describe('a virtual machine of a subscription and resource group that a rule allows', () => {
  test('joins, and the audit log has which it was', async () => {
    expect((await join()).status).toBe(200)
    expect(await lastJoin(world)).toMatchObject({
      outcome: 'ok',
      fields: {
        method: 'azure',
        claims: [
          `subscription=${VM.subscription}`,
          `tenant=${VM.tenant}`,
          'resource_group=Web-RG',
          'vm=web-1',
          `vm_id=${VM.vmId}`,
        ],
      },
    })
  })

  test('joins with a user-assigned identity, whose token names the machine beside it', async () => {
    const identity =
      '/subscriptions/x/resourcegroups/y/providers/Microsoft.ManagedIdentity/userAssignedIdentities/z'
    const answer = await join(token({ xms_mirid: identity, xms_az_rid: resourceId(VM) }))
    expect(answer.status).toBe(200)
  })

  test('joins with signed attributes in its document, and with all of its services', async () => {
    const enrolment = generateKey()
    expect((await join(document({}, undefined, []), { enrolment })).status).toBe(200)
    expect((await join(undefined, { enrolment, service: 'app' })).status).toBe(200)
  })

  test('is not told apart from a refused one when Azure cannot be reached: it tries again', async () => {
    azure.next(503, '')
    expect(codeOf(await join())).toBe('ERR_UNREACHABLE')
  })
})

describe('a join is refused without a word,', () => {
  const other = '22222222-2222-4333-8444-555555555555'
  const elsewhere = foreignCa('Test Azure TLS CA', clock.now())
  const stranger = foreignCa('Somebody', clock.now())
  const key = signingKey('RS256', 'stranger')
  const refusals: [string, Change, RegExp, (() => void)?][] = [
    [
      'for a document of another join',
      (_, keys) => ({
        attested: signAttested(azure.document(azureNonce('another', keys)), azure.signer),
      }),
      /^azure: the attested document is for another join$/,
    ],
    [
      'for a document that another agent asked for',
      (challenge, keys) => ({
        attested: signAttested(
          azure.document(azureNonce(challenge, { ...keys, serviceKey: keys.enrolment })),
          azure.signer,
        ),
      }),
      /^azure: the attested document is for another join$/,
    ],
    [
      'for a document without our nonce, as whoever reads it once has it',
      document({ nonce: '20261126-120000' }),
      /^azure: the attested document is for another join$/,
    ],
    [
      'for a document changed after it was signed (CVE-2026-46354)',
      (challenge, keys) => {
        const bytes = Buffer.from(honest(challenge, keys).attested, 'base64')
        bytes.write('9', bytes.indexOf(VM.vmId))
        return { attested: bytes.toString('base64') }
      },
      /^azure: CMS: signed by the key of none of its certificates$/,
    ],
    [
      'for a document of a CA that nobody listed',
      document({}, () => azure.certify({}, stranger)),
      /^azure: the certificate is of no CA that is listed$/,
    ],
    [
      'for a document of another CA of the same name',
      document({}, () => azure.certify({}, elsewhere)),
      /^azure: the signature of the CA does not hold$/,
    ],
    [
      // SPIRE 1.14.7: the chain was checked on one certificate of the bag, the signature on another.
      'for an honest certificate in the bag beside the one that signed (SPIRE 1.14.7)',
      (challenge, keys) => ({ attested: withBag(challenge, keys) }),
      /^azure: the certificate is of no CA that is listed$/,
    ],
    [
      'for a certificate of the same CA for another server',
      document({}, () => azure.certify({ dns: ['login.azure.com'] })),
      /^azure: the signer is not metadata\.azure\.com$/,
    ],
    [
      'for a server whose name begins alike',
      document({}, () => azure.certify({ dns: ['metadata.azure.com.evil.example'] })),
      /^azure: the signer is not metadata\.azure\.com$/,
    ],
    [
      'for a common name alone',
      document({}, () => azure.certify({ dns: [] })),
      /^azure: the signer is not metadata\.azure\.com$/,
    ],
    [
      'for a certificate that expired',
      document({}, () => azure.certify({ notAfter: plus(clock.now(), -1000) })),
      /^azure: the certificate is not in force$/,
    ],
    [
      'for a certificate of a CA',
      document({}, () => azure.certify({ ca: true })),
      /^azure: the certificate is one of a CA$/,
    ],
    [
      'for a document without a certificate',
      document({}, undefined, ['-noattr', '-nocerts']),
      /^azure: CMS: signed by the key of none of its certificates$/,
    ],
    [
      'for SHA-1',
      document({}, undefined, ['-md', 'sha1']),
      /^azure: CMS: the digest is not SHA-256$/,
    ],
    [
      'for a document that expired',
      document({
        timeStamp: { createdOn: '01/01/20 00:00:00 -0000', expiresOn: '01/01/20 06:00:00 -0000' },
      }),
      /^azure: the attested document expired$/,
    ],
    [
      'for a document of the future',
      document({
        timeStamp: { createdOn: '01/01/40 00:00:00 -0000', expiresOn: '01/01/40 06:00:00 -0000' },
      }),
      /^azure: the attested document is of the future$/,
    ],
    [
      'for a document without a time',
      document({ timeStamp: undefined }),
      /^azure: attested document: .*timeStamp/s,
    ],
    ['for a VM id that is none', document({ vmId: '../x' }), /^azure: attested document: .*vmId/s],
    [
      'for a field named twice',
      (challenge, keys) => ({
        attested: signAttested(
          `{"vmId":"a","vmId":"b","nonce":"${azureNonce(challenge, keys)}"}`,
          azure.signer,
        ),
      }),
      /^azure: attested document: .*named twice/,
    ],
    [
      'for a message cut short',
      (challenge, keys) => ({
        attested: Buffer.from(honest(challenge, keys).attested, 'base64')
          .subarray(0, -9)
          .toString('base64'),
      }),
      /^azure: (CMS|DER): /,
    ],
    [
      'for a message that is too long',
      () => ({ attested: 'A'.repeat(16_388) }),
      /^evidence: attested/,
    ],
    ['for another field', () => ({ vm: 'web-2' }), /^evidence: vm/],
    [
      'for an access token for another service',
      token({ aud: 'https://vault.azure.net' }),
      /^id token: audience is "https:\/\/vault\.azure\.net"/,
    ],
    [
      'for an access token that expired',
      token({ exp: 1_000_000_000, iat: 999_999_000 }),
      /^id token: expired$/,
    ],
    [
      'for an access token of a tenant that its issuer contradicts',
      token({ tid: other }),
      /^azure: access token: issuer is not that of tenant 22222222/,
    ],
    [
      'for an access token of no tenant',
      token({ tid: '../x' }),
      /^azure: access token: tid is no tenant$/,
    ],
    [
      'for an access token by another key',
      () => ({ access_token: signIdToken(key, { aud: 'https://management.azure.com/' }) }),
      /^id token: no key of the issuer has kid "stranger"$/,
    ],
    [
      'for an access token by HMAC with the public key',
      () => ({ access_token: hmacWithPublicKey(azure.tokenKey, {}) }),
      /^id token: algorithm "HS256" is not allowed/,
    ],
    [
      'for an access token of a user',
      token({ xms_mirid: undefined }),
      /^azure: access token: it is of no managed identity$/,
    ],
    [
      'for an identity of no machine',
      token({ xms_mirid: '/subscriptions/x/resourcegroups/y/providers/Microsoft.Web/sites/z' }),
      /is no virtual machine$/,
    ],
    [
      'for a machine whose name climbs',
      token({ xms_mirid: `${resourceId(VM)}/../web-2` }),
      /is no virtual machine$/,
    ],
    [
      'for document and token of different subscriptions',
      document({ subscriptionId: other }),
      /^azure: document and access token are of different subscriptions$/,
    ],
    [
      // A token stolen from a machine in an allowed group, shown with one's own document.
      'for document and token of different machines',
      document({ vmId: other }),
      /^azure: document and access token are of different virtual machines$/,
    ],
    [
      'for an identity that may not read its own machine',
      () => ({}),
      /^Azure Resource Manager management\.azure\.com: status 403/,
      () => azure.next(403, '{}'),
    ],
    [
      'for an answer that names nothing',
      () => ({}),
      /^azure: the answer of Azure is not as expected/,
      () => azure.next(200, '{}'),
    ],
    [
      'for an answer that sends us elsewhere',
      () => ({}),
      /redirects are not followed/,
      () => azure.next(302, ''),
    ],
  ]
  test.each(refusals)('%s', async (_, change, reason, prepare) => {
    prepare?.()
    const answer = await join(change)
    expect(codeOf(answer)).toBe('ERR_JOIN_REFUSED')
    expect(answer.text).not.toMatch(reason)
    expect(await lastJoin(world)).toMatchObject({
      outcome: 'refused',
      reason: expect.stringMatching(reason) as string,
    })
  })

  /** Signed by somebody, with Azure's certificate in front of theirs. */
  function withBag(challenge: string, keys: JoinKeys): string {
    const own = foreignKey()
    const theirs = {
      key: own,
      certificate: azure.certify({ publicKey: own.publicKey }, stranger).certificate,
    }
    const content = azure.document(azureNonce(challenge, keys))
    return signAttested(content, theirs, ['-noattr'], azure.signer.certificate)
  }

  test.each<[string, object, RegExp]>([
    [
      'of another subscription',
      { ...VM, subscription: other },
      /^no rule allows subscription 22222222/,
    ],
    [
      'of another resource group',
      { ...VM, resourceGroup: 'db' },
      /^no rule allows resource group db$/,
    ],
    [
      'of another tenant',
      { ...VM, subscription: '11111111-2222-4333-8444-555555555555', tenant: other },
      /^no rule allows tenant 22222222/,
    ],
  ])('for a machine %s, and Azure is not asked', async (_, vm, reason) => {
    const before = azure.asked.filter((one) => one.startsWith('management')).length
    const answer = await join((challenge, keys) => ({
      attested: signAttested(
        azure.document(azureNonce(challenge, keys), vm as typeof VM),
        azure.signer,
      ),
      access_token: azure.accessToken(vm as typeof VM),
    }))
    expect(codeOf(answer)).toBe('ERR_JOIN_REFUSED')
    expect((await lastJoin(world))?.reason).toMatch(reason)
    expect(azure.asked.filter((one) => one.startsWith('management'))).toHaveLength(before)
  })
})

test('a CA that is not known yet can stand in the token', async () => {
  const opened = foreignCa('Opened last week', clock.now())
  const allow = [{ subscription: VM.subscription }]
  const file = tokenFile('new-ca', {
    join_method: 'azure',
    azure: { signing_cas: [opened.pem], allow },
  })
  expect((await world.op('POST', '/v1/tokens', file)).status).toBe(201)
  const by = document({}, () => azure.certify({}, opened))
  expect((await join(by, { token: 'new-ca' })).status).toBe(200)
  expect(codeOf(await join(by))).toBe('ERR_JOIN_REFUSED')
})

test('a rule of a tenant lets in machines of all of its subscriptions, and of no other tenant', async () => {
  const file = tokenFile('tenant', {
    join_method: 'azure',
    azure: { allow: [{ tenant: VM.tenant }] },
  })
  expect((await world.op('POST', '/v1/tokens', file)).status).toBe(201)
  expect((await join(undefined, { token: 'tenant' })).status).toBe(200)
  const stranger = tokenFile('stranger', {
    join_method: 'azure',
    azure: { allow: [{ tenant: '22222222-2222-4333-8444-555555555555' }] },
  })
  expect((await world.op('POST', '/v1/tokens', stranger)).status).toBe(201)
  expect(codeOf(await join(undefined, { token: 'stranger' }))).toBe('ERR_JOIN_REFUSED')
  expect((await lastJoin(world))?.reason).toBe(`no rule allows tenant ${VM.tenant}`)
})

test.each<[string, object | undefined, string]>([
  ['no block', undefined, 'spec.azure'],
  ['no rules', { allow: [] }, 'spec.azure.allow'],
  [
    'a rule without subscription and tenant',
    { allow: [{ resource_groups: ['a'] }] },
    'spec.azure.allow.0',
  ],
  [
    'a subscription by its name',
    { allow: [{ subscription: 'prod' }] },
    'spec.azure.allow.0.subscription',
  ],
])('a token file with %s is refused by its field', async (_, azureBlock, path) => {
  const file = tokenFile('bad', { join_method: 'azure', azure: azureBlock })
  expect(pathsOf(await world.op('POST', '/v1/tokens', file))).toContain(path)
})
