/**
 * Incidents of comparable systems in what operators and their tokens may do, each as the attack that it was. Those of joining are
 * with their join method, those of id tokens with the corpus (api/id-token-callers, contract/join/oidc).
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { generateKey } from '../../core/certs/signer.ts'
import { seconds } from '../../core/clock.ts'
import { encodeKey } from '../../core/join/messages.ts'
import { openIssuer, type OidcIssuer } from '../fakes/oidc-issuer.ts'
import { encode } from '../support/id-tokens.ts'
import { joined, mint } from './support/machine.ts'
import { codeOf, itemsOf, openWorld, type Answer, type World } from './support/world.ts'

let world: World
let issuer: OidcIssuer
beforeAll(async () => {
  issuer = await openIssuer({ now: () => seconds(world.clock.now()) })
  world = await openWorld({ issuers: { allowPrivate: true, ca: issuer.ca } })
  await world.op('PUT', '/v1/oidc_connectors/ci', {
    kind: 'oidc_connector',
    version: 'v1',
    metadata: { name: 'ci' },
    spec: {
      issuer: issuer.url,
      claims_to_roles: [{ claims: { team: 'web' }, roles: ['auditor'] }],
    },
  })
})
afterAll(async () => {
  await world.close()
  await issuer.close()
})
const bearer = (token: string, path = '/v1/events?limit=1', headers = {}): Promise<Answer> =>
  world.call('GET', path, { headers: { authorization: `Bearer ${token}`, ...headers } })
const good = (claims: object = {}): string =>
  issuer.issue({ aud: 'test.internal', sub: 'job', team: 'web', ...claims })

describe('id tokens', () => {
  test('SPIRE 1.12.3: one without exp, aud, iss or sub is nobody', async () => {
    expect((await bearer(good())).status).toBe(200)
    for (const claim of ['exp', 'aud', 'iss', 'sub', 'iat'])
      expect(codeOf(await bearer(good({ [claim]: undefined })))).toBe('ERR_UNAUTHENTICATED')
  })
  test('CVE-2024-5798 (Vault): an audience counts whole, alone or in a list', async () => {
    for (const aud of [
      'test.interna',
      'test.internal.evil',
      'TEST.INTERNAL',
      ['a'],
      '',
      [],
      'test',
    ])
      expect(codeOf(await bearer(good({ aud })))).toBe('ERR_UNAUTHENTICATED')
    expect((await bearer(good({ aud: ['other', 'test.internal'] }))).status).toBe(200)
  })
  test('CVE-2026-45796 (Coder), SPIRE 1.14.2: an issuer that the token names is never fetched', async () => {
    const stranger = await openIssuer({ now: () => seconds(world.clock.now()) })
    const token = stranger.issue({ aud: 'test.internal', sub: 'job', team: 'web' })
    expect(codeOf(await bearer(token))).toBe('ERR_UNAUTHENTICATED')
    expect(stranger.asked).toEqual([])
    await stranger.close()
  })
  test('GHSA-2c7c-3mj9-8fqh, CVE-2025-27144 (go-jose): five parts, a thousand dots and giants are refused before they are read', async () => {
    const [head = '', body = ''] = good().split('.')
    const before = issuer.asked.length
    for (const token of [
      `${head}.${body}.a.b.c`,
      '.'.repeat(1000),
      `${head}.${encode({ iss: issuer.url, pad: 'x'.repeat(20_000) })}.${'A'.repeat(86)}`,
    ])
      expect(codeOf(await bearer(token))).toBe('ERR_UNAUTHENTICATED')
    expect(issuer.asked.length).toBe(before)
  })
  test('CVE-2021-41230 (Pomerium): other claims are other rights at the next call', async () => {
    const who = async (claims: object) => (await bearer(good(claims), '/v1/whoami')).status
    expect(await who({})).toBe(200)
    expect(await who({ team: 'ops' })).toBe(401)
  })
})

describe('credentials', () => {
  test('CVE-2026-40910 (frp): one header says who calls; what another says counts for nothing', async () => {
    const headers = { 'proxy-authorization': `Bearer ${world.operatorKey}` }
    const answer = await world.call('GET', '/v1/tokens', { headers })
    expect(codeOf(answer)).toBe('ERR_UNAUTHENTICATED')
    const both = await bearer(good(), '/v1/whoami', headers)
    expect(both.body).toMatchObject({ kind: 'workload' })
    for (const name of ['x-api-key', 'x-forwarded-user', 'x_forwarded_user', 'cookie'])
      expect(
        codeOf(await world.call('GET', '/v1/tokens', { headers: { [name]: world.operatorKey } })),
      ).toBe('ERR_UNAUTHENTICATED')
  })
  test('CVE-2025-10678 (NetBird): a new cluster has no key that anybody could know', async () => {
    const fresh = await openWorld()
    const keys = itemsOf(await fresh.op('GET', '/v1/keys'))
    expect(keys).toHaveLength(1)
    expect(codeOf(await fresh.call('GET', '/v1/keys'))).toBe('ERR_UNAUTHENTICATED')
    for (const guess of ['', 'admin', 'postern', `pst_key_${'0'.repeat(43)}`])
      expect(
        (await fresh.call('GET', '/v1/keys', { headers: { authorization: `Bearer ${guess}` } }))
          .status,
      ).toBe(401)
    await fresh.close()
  })
  test('CVE-2022-41316 (Vault): a revocation holds at the very next call', async () => {
    const made = await world.op('POST', '/v1/keys', {
      name: 'gone',
      scopes: [{ resources: ['*'], verbs: ['list'] }],
    })
    const { id, secret } = made.body as { id: string; secret: string }
    expect((await bearer(secret, '/v1/tokens')).status).toBe(200)
    await world.op('DELETE', `/v1/keys/${id}`)
    expect((await bearer(secret, '/v1/tokens')).status).toBe(401)
  })
})

describe('rights', () => {
  test('CVE-2025-66406 (step-ca): a certificate proves its own name and acts on no other', async () => {
    const ann = await world.user('ann', ['access'])
    await world.user('bob', ['editor'])
    const asked = await world.as(ann, 'POST', '/v1/certs', {
      public_key: encodeKey(generateKey().publicKey),
      user: 'bob',
    })
    expect(asked.status).toBe(403)
    const agent = await joined(world, { secret: await mint(world), node: 'web-1' })
    const other = await joined(world, { secret: await mint(world), node: 'web-2' })
    const gone = await world.as(agent, 'DELETE', `/v1/agents/${other.agentId}`)
    expect(gone.status).toBe(404)
    expect((await world.op('GET', `/v1/agents/${other.agentId}`)).status).toBe(200)
  })
  test("CVE-2026-55429, CVE-2026-55432 (Coder): whoever makes a key chooses neither its id nor another's", async () => {
    const ask = (fields: object) =>
      world.op('POST', '/v1/keys', {
        name: 'mine',
        scopes: [{ resources: ['token'], verbs: ['list'] }],
        ...fields,
      })
    expect(codeOf(await ask({ id: `ky_${'0'.repeat(26)}` }))).toBe('ERR_INPUT_INVALID')
    expect(codeOf(await ask({ secret: `pst_key_${'A'.repeat(43)}` }))).toBe('ERR_INPUT_INVALID')
  })
  test('GHSA-rxmp-8h9v-56cx (NetBird): a role read once decides; taken away meanwhile it grants nothing', async () => {
    await world.user('temp', ['editor'])
    const made = await world.op('POST', '/v1/keys', {
      name: 'temps',
      owner: 'temp',
      scopes: [{ resources: ['*'], verbs: ['*'] }],
    })
    const { secret } = made.body as { secret: string }
    const [, ...answers] = await Promise.all([
      world.user('temp', ['access']),
      ...Array.from({ length: 20 }, () =>
        world.call('POST', '/v1/tokens', {
          body: { roles: ['Node'] },
          headers: { authorization: `Bearer ${secret}` },
        }),
      ),
    ])
    for (const { status } of answers) expect([201, 403]).toContain(status)
    expect((await bearer(secret, '/v1/tokens')).status).toBe(403)
  })
  test('CVE-2025-54576, CVE-2026-41059 (oauth2-proxy): what is guarded is the path that is served, however it is written', async () => {
    for (const path of [
      '/v1/tokens/',
      '/v1//tokens',
      '/V1/tokens',
      '/v1/ping/../tokens',
      '/v1/%74okens',
      '/v1/tokens#/v1/ping',
      '/.well-known/postern/../../v1/tokens',
    ]) {
      const { status, text } = await world.call('GET', path)
      expect([401, 404], `${path} ${text}`).toContain(status)
    }
  })
})
