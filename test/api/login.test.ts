/** Signing in: certificates for the right password, one answer for everything else. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { userCertificates } from '../../core/api/login.ts'
import { identityOf } from '../../core/certs/identity.ts'
import { generateKey, keySigner } from '../../core/certs/signer.ts'
import { parseSshCertificate } from '../../core/certs/ssh-certificate.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { encodeKey } from '../../core/join/messages.ts'
import { codeOf, itemsOf, openWorld, type Answer, type World } from './support/world.ts'

const world: World = await openWorld()
afterAll(() => world.close())

const PASSWORD = 'correct horse battery'
const putUser = (name: string, spec: object) =>
  world.op('PUT', `/v1/users/${name}`, { kind: 'user', version: 'v2', metadata: { name }, spec })
const putRole = (name: string, spec: object) =>
  world.op('PUT', `/v1/roles/${name}`, { kind: 'role', version: 'v7', metadata: { name }, spec })
await putUser('ann', {
  roles: ['access'],
  traits: { logins: ['ann', 'deploy'] },
  password: PASSWORD,
})

const pair = generateKey()
const login = (user: string, password: string, more: object = {}, ip?: string): Promise<Answer> =>
  world.call('POST', '/v1/login/password', {
    body: { user, password, public_key: encodeKey(pair.publicKey), ...more },
    ...(ip === undefined ? {} : { ip }),
  })
const hoursLeft = (answer: Answer): number =>
  (userCertificates.parse(answer.body).expires * 1000 - world.clock.now()) / 3_600_000
const reasonOfLast = async () =>
  itemsOf<{ reason?: string; outcome: string }>(
    await world.op('GET', '/v1/events?type=user.login&limit=1'),
  )[0]

describe('the right password', () => {
  test('gives X.509 and SSH certificates for the key, with roles, traits and logins', async () => {
    const answer = userCertificates.parse((await login('ann', PASSWORD)).body)
    const leaf = readCertificate(answer.x509)
    expect(identityOf(leaf)).toMatchObject({
      kind: 'user',
      user: 'ann',
      roles: ['access'],
      logins: ['ann', 'deploy'],
      traits: { logins: ['ann', 'deploy'] },
    })
    expect(leaf.usages).toEqual(['client'])
    const ssh = parseSshCertificate(Buffer.from(answer.ssh.split(' ')[1] ?? '', 'base64'))
    expect(ssh).toMatchObject({ role: 'user', keyId: 'ann', principals: ['ann', 'deploy'] })
    expect([...ssh.extensions.keys()]).toContain('permit-pty')
    expect(await reasonOfLast()).toMatchObject({ outcome: 'ok' })
  })
  test('gives what ssh-keygen and openssl understand', async () => {
    const { ssh, x509 } = userCertificates.parse((await login('ann', PASSWORD)).body)
    const file = (name: string, text: string): string => {
      const path = join(world.dir, name)
      writeFileSync(path, `${text}\n`)
      return path
    }
    const shown = execFileSync('ssh-keygen', ['-L', '-f', file('cert.pub', ssh)], {
      encoding: 'utf8',
    })
    expect(shown).toMatch(/Key ID: "ann"/)
    expect(shown).toMatch(/Principals:\s+ann\s+deploy/)
    const ca = file('user-ca.pem', world.plane.caBundle.user.x509[0] ?? '')
    const at = String(Math.floor(world.clock.now() / 1000))
    const args = ['verify', '-x509_strict', '-attime', at, '-purpose', 'sslclient', '-CAfile', ca]
    const verified = execFileSync('openssl', [...args, file('user.pem', x509)], {
      encoding: 'utf8',
    })
    expect(verified).toMatch(/OK/)
  })
  test('gives 12 hours at most, less when a role or the user says so', async () => {
    expect(Math.ceil(hoursLeft(await login('ann', PASSWORD)))).toBe(12)
    expect(Math.ceil(hoursLeft(await login('ann', PASSWORD, { ttl: '2h' })))).toBe(2)
    await putRole('brief', { options: { max_session_ttl: '1h' } })
    await putUser('brief', { roles: ['access', 'brief'], password: PASSWORD })
    expect(Math.ceil(hoursLeft(await login('brief', PASSWORD)))).toBe(1)
    expect(Math.ceil(hoursLeft(await login('brief', PASSWORD, { ttl: '9h' })))).toBe(1)
    expect(codeOf(await login('ann', PASSWORD, { ttl: '13h' }))).toBe('ERR_CERT_TTL_TOO_LONG')
  })
  test('of a user without any login gives a principal that is no login', async () => {
    await putUser('nologin', { roles: ['auditor'], password: PASSWORD })
    const answer = userCertificates.parse((await login('nologin', PASSWORD)).body)
    expect(answer.logins).toEqual([])
    const ssh = parseSshCertificate(Buffer.from(answer.ssh.split(' ')[1] ?? '', 'base64'))
    expect(ssh.principals).toEqual(['-postern-nologin'])
  })
  test('of a user whose role denies a login leaves it out', async () => {
    await putRole('no-deploy', { deny: { logins: ['deploy'] } })
    await putUser('half', {
      roles: ['access', 'no-deploy'],
      traits: { logins: ['half', 'deploy'] },
      password: PASSWORD,
    })
    expect(userCertificates.parse((await login('half', PASSWORD)).body).logins).toEqual(['half'])
  })
  test('survives other spellings of the same letters', async () => {
    await putUser('zoe', { roles: ['access'], password: 'zoë is twelve long' })
    expect((await login('zoe', 'zoe\u0308 is twelve long')).status).toBe(200)
  })
})

describe('a refused sign-in', () => {
  test('looks the same for an unknown user, no password and a wrong one', async () => {
    await putUser('keyonly', { roles: ['access'] })
    const attempts = [
      await login('ann', 'wrong password!'),
      await login('nobody', PASSWORD),
      await login('keyonly', PASSWORD),
    ]
    const shown = attempts.map(({ status, body }) => ({
      status,
      ...(body as Record<string, unknown>),
      requestId: undefined,
    }))
    expect(shown[0]).toMatchObject({ status: 401, code: 'ERR_LOGIN_FAILED' })
    expect(shown[1]).toEqual(shown[0])
    expect(shown[2]).toEqual(shown[0])
  })
  test('has its exact reason in the audit log', async () => {
    await login('ann', 'wrong password!')
    expect(await reasonOfLast()).toMatchObject({ outcome: 'refused', reason: 'wrong password' })
    await login('nobody', PASSWORD)
    expect(await reasonOfLast()).toMatchObject({ reason: 'no such user' })
  })
  test('of a locked user stays refused with the right password', async () => {
    await putUser('lara', { roles: ['access'], password: PASSWORD })
    await world.op('POST', '/v1/locks', { target: { user: 'lara' } })
    expect(codeOf(await login('lara', PASSWORD))).toBe('ERR_LOGIN_FAILED')
    expect(await reasonOfLast()).toMatchObject({ reason: 'locked' })
  })
  test('too many times is slowed, for that name only', async () => {
    await putUser('mark', { roles: ['access'], password: PASSWORD })
    const codes: unknown[] = []
    for (let i = 0; i < 22; i++) codes.push(codeOf(await login('mark', 'x', {}, `198.51.100.${i}`)))
    expect(codes.slice(0, 20)).toEqual(Array(20).fill('ERR_LOGIN_FAILED'))
    expect(codes.at(-1)).toBe('ERR_RATE_LIMITED')
    const slowed = await login('mark', PASSWORD)
    expect(Number(slowed.headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await login('ann', PASSWORD)).status).toBe(200)
  })
})

describe('fresh certificates', () => {
  test('of a signed-in user never outlive the certificate that asked', async () => {
    const user = await world.user('una', ['access'])
    world.later(11 * 3_600_000)
    const next = generateKey()
    const answer = await world.as(user, 'POST', '/v1/certs', {
      public_key: encodeKey(next.publicKey),
    })
    expect(userCertificates.parse(answer.body).expires * 1000).toBe(user.certificate.notAfter)
    const leaf = readCertificate(userCertificates.parse(answer.body).x509)
    const again = await world.as(
      { certificate: leaf, signer: keySigner(next.privateKey) },
      'GET',
      '/v1/whoami',
    )
    expect(again.status).toBe(200)
  })
  test('of another user are for operators alone', async () => {
    const user = await world.user('una', ['access', 'editor'])
    const ask = { public_key: encodeKey(generateKey().publicKey), user: 'ann' }
    expect(codeOf(await world.as(user, 'POST', '/v1/certs', ask))).toBe('ERR_FORBIDDEN')
    const missing = { ...ask, user: 'nobody' }
    expect(codeOf(await world.op('POST', '/v1/certs', missing))).toBe('ERR_NOT_FOUND')
    expect((await world.op('POST', '/v1/certs', ask)).status).toBe(200)
  })
  test('are in the audit log', async () => {
    await world.op('POST', '/v1/certs', {
      public_key: encodeKey(generateKey().publicKey),
      user: 'ann',
    })
    const [event] = itemsOf(await world.op('GET', '/v1/events?type=cert.issue&limit=1'))
    expect(event).toMatchObject({ resource: 'user/ann', fields: { logins: ['ann', 'deploy'] } })
  })
})

test('a password is never shown again, in any answer', async () => {
  const user = await world.op('GET', '/v1/users/ann')
  const list = await world.op('GET', '/v1/users')
  const events = await world.op('GET', '/v1/events?limit=500')
  for (const { text } of [user, list, events]) {
    expect(text).not.toContain(PASSWORD)
    expect(text).not.toContain('scrypt')
  }
})
