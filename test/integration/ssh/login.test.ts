/** Who gets in: certificates of the user CA for this user, this login, this key, now. Everything else stays outside. */
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { generateKey } from '../../../core/certs/signer.ts'
import { userSshExtensions } from '../../../core/certs/identity.ts'
import { exportSshPrivateKey } from '../../../core/certs/ssh-private-key.ts'
import type { SshCertificateRequest } from '../../../core/certs/ssh-certificate.ts'
import { plus, systemClock } from '../../../core/clock.ts'
import { openRole } from '../../fakes/service-context.ts'
import { ME, NODE, openWorld, USER, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world.close())
const now = systemClock.now()

const only = (file: string): string[] => ['-F', file]

async function loginAs(
  name: string,
  request: Partial<SshCertificateRequest>,
  ca = undefined as ReturnType<typeof generateKey> | undefined,
) {
  const file = await world.identity(name, request, ca)
  const config = `${file}.config`
  const text = readFileSync(`${world.dir}/config`, 'utf8').replace(
    /IdentityFile .*/,
    `IdentityFile ${file}`,
  )
  writeFileSync(config, text)
  return world.run('ssh', [...only(config), NODE, 'echo in'])
}

describe('host certificates', () => {
  test('the node proves its name under StrictHostKeyChecking with @cert-authority', async () => {
    const result = await world.ssh(['-v', NODE, 'true'])
    expect(result.code).toBe(0)
    expect(result.stderr).toMatch(
      /Server host certificate: ecdsa-sha2-nistp256-cert-v01@openssh.com/,
    )
  })

  test('another name is not believed', async () => {
    const result = await world.ssh(['-o', 'HostKeyAlias=node-2.test.example', NODE, 'true'])
    expect(result.code).toBe(255)
    expect(result.stderr).toMatch(/Certificate invalid: name is not a listed principal/)
  })

  test('ed25519 host keys work, and rekeying does', async () => {
    const other = await openWorld({ hostKey: 'EdDSA' })
    const result = await other.ssh(['-o', 'RekeyLimit=1M', NODE, 'head -c 5000000 /dev/zero'])
    expect([result.code, result.stdout.length]).toEqual([0, 5_000_000])
    await other.close()
  })
})

test.each(['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'chacha20-poly1305@openssh.com'])(
  'bytes arrive as they were, both ways and over changes of keys: %s',
  async (cipher) => {
    const input = randomBytes(3_000_000).toString('base64')
    const options = ['-v', '-o', `Ciphers=${cipher}`, '-o', 'RekeyLimit=1M']
    const { code, stdout, stderr } = await world.ssh([...options, NODE, 'cat'], { input })
    expect(code).toBe(0)
    expect(stderr).toContain(`kex: server->client cipher: ${cipher}`)
    expect(stderr.match(/rekeying in progress|SSH2_MSG_NEWKEYS received/g)?.length).toBeGreaterThan(
      3,
    )
    expect(stdout === input).toBe(true)
  },
)

describe('user certificates', () => {
  test('let the user in', async () => {
    expect(await loginAs('ok', {})).toMatchObject({ code: 0, stdout: 'in\n' })
  })

  const roles = userSshExtensions({ roles: ['access'], traits: {} })
  test.each<[string, Partial<SshCertificateRequest>, RegExp]>([
    ['expired', { validAfter: plus(now, -7200_000), validBefore: plus(now, -60_000) }, /expired/],
    ['not yet valid', { validAfter: plus(now, 600_000) }, /not yet valid/],
    ['for another login', { principals: ['somebody'] }, /principal not listed/],
    [
      'bound to an address',
      { criticalOptions: { 'source-address': '192.0.2.0/24' } },
      /source address/,
    ],
    ['a host certificate', { role: 'host', principals: [ME] }, /wrong role/],
    ['of another user', { keyId: 'bob' }, /certificate of bob on a stream of ann/],
    ['without roles', { extensions: {} }, /./],
    [
      'with roles that are not held',
      { extensions: userSshExtensions({ roles: ['admin'], traits: {} }) },
      /held now/,
    ],
  ])('%s: refused', async (name, request, reason) => {
    const before = world.ctx.audited.length
    const result = await loginAs(name.replaceAll(' ', '-'), { extensions: roles, ...request })
    expect(result.code).toBe(255)
    expect(result.stdout).toBe('')
    const events = world.ctx.audited.slice(before)
    expect(events.map((event) => event.type)).not.toContain('session.start')
    const refused = events.find((event) => event.type === 'session.refused')
    // A certificate that is refused when it is offered never gets to a signed attempt.
    if (refused) expect(refused.reason).toMatch(reason)
  })

  test('of an unknown CA: refused', async () => {
    expect((await loginAs('rogue', {}, generateKey())).code).toBe(255)
  })

  test('stolen, with another key: refused', async () => {
    const file = await world.identity('stolen')
    writeFileSync(file, exportSshPrivateKey(generateKey('EdDSA').privateKey), { mode: 0o600 })
    const config = `${file}.config`
    const text = readFileSync(`${world.dir}/config`, 'utf8').replace(
      /IdentityFile .*/,
      `IdentityFile ${file}\n  CertificateFile ${file}-cert.pub`,
    )
    writeFileSync(config, text)
    expect((await world.run('ssh', [...only(config), NODE, 'true'])).code).toBe(255)
  })

  test('a bare key of the user: refused', async () => {
    const file = await world.identity('bare')
    writeFileSync(`${file}-cert.pub`, '')
    const config = `${file}.config`
    const text = readFileSync(`${world.dir}/config`, 'utf8').replace(
      /IdentityFile .*/,
      `IdentityFile ${file}`,
    )
    writeFileSync(config, text)
    expect((await world.run('ssh', [...only(config), NODE, 'true'])).code).toBe(255)
  })

  test('tell the user in one line when their certificate has expired', async () => {
    const result = await loginAs('late', {
      validAfter: plus(now, -7200_000),
      validBefore: plus(now, -60_000),
    })
    expect(result.stderr).toMatch(/postern: your certificate has expired; log in again/)
  })
})

describe('accounts', () => {
  test('an account that does not exist, or may not log in, is named in one line', async () => {
    const logins = [ME, 'nobody', 'no-such-user']
    const own = await openWorld({ logins, roles: [openRole('access', logins)] })
    const unknown = await own.ssh(['-l', 'no-such-user', NODE, 'true'])
    expect(unknown.stderr).toMatch(/postern: there is no user no-such-user on this node/)
    const nobody = await own.ssh(['-l', 'nobody', NODE, 'true'])
    expect(nobody.stderr).toMatch(
      /postern: (user nobody may not log in|this agent does not run as root)/,
    )
    await own.close()
  })

  test('a login that no role allows is refused although the certificate names it', async () => {
    const own = await openWorld({ logins: [ME, 'daemon'], roles: [openRole('access', [ME])] })
    const result = await own.ssh(['-l', 'daemon', NODE, 'true'])
    expect(result.code).toBe(255)
    expect(result.stderr).toMatch(/postern: you may not log in here with this login/)
    const event = await own.ctx.auditedOnce('session.refused')
    expect(event.reason).toMatch(/allows login daemon/)
    expect(event.actor).toBe(USER)
    await own.close()
  })
})
