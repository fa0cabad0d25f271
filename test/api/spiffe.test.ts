/** Identities that others can verify: every agent certificate is an X.509-SVID, and the bundle and key sets are what SPIFFE and OIDC say. */
import { execFileSync } from 'node:child_process'
import { createPublicKey, X509Certificate, type JsonWebKey } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openidConfiguration, spiffeBundle, type SpiffeBundle } from '../../core/api/spiffe.ts'
import { toPem } from '../../core/certs/x509-read.ts'
import { missing } from '../support/peers.ts'
import { joined, mint, type Joined } from './support/machine.ts'
import { openWorld, ORIGIN, type World } from './support/world.ts'

let world: World
let agents: Joined[]
beforeAll(async () => {
  world = await openWorld()
  const enrolled = await joined(world, { secret: await mint(world, { max_uses: 2 }) })
  agents = [
    enrolled,
    await joined(world, { secret: await mint(world), service: 'app', node: 'a.b' }),
  ]
})
afterAll(() => world.close())
const bundle = async (): Promise<SpiffeBundle> =>
  spiffeBundle.parse((await world.call('GET', '/v1/spiffe/bundle')).body)
const caOf = async (): Promise<X509Certificate> => {
  const [key] = (await bundle()).keys.filter(({ use }) => use === 'x509-svid')
  return new X509Certificate(Buffer.from(key?.x5c?.[0] ?? '', 'base64'))
}

describe('an agent certificate is an X.509-SVID', () => {
  // X509-SVID, section 2: exactly one URI SAN; other kinds of names may stand beside it.
  test('with exactly one URI, whose path has only segments that SPIFFE knows', () => {
    for (const { certificate } of agents) {
      expect(certificate.uris).toHaveLength(1)
      const [uri = ''] = certificate.uris
      // SPIFFE-ID, section 2: trust domain and segments in their alphabets, no port, no user, no query, no dots alone.
      expect(uri).toMatch(/^spiffe:\/\/[a-z0-9._-]{1,255}(\/[A-Za-z0-9._-]+)+$/)
      expect(uri.split('/').slice(3)).not.toContain('.')
      expect(uri.split('/').slice(3)).not.toContain('..')
      expect(uri.length).toBeLessThan(2048)
    }
  })

  // X509-SVID, sections 4.1 and 4.3.
  test.skipIf(missing('openssl'))('that signs digitally and is no CA, as openssl reads it', () => {
    for (const { certificate } of agents) {
      const text = execFileSync('openssl', ['x509', '-noout', '-text'], {
        input: toPem(certificate.raw),
        encoding: 'utf8',
      })
      expect(text).toMatch(/X509v3 Key Usage: critical\n\s+Digital Signature\n/)
      expect(text).toMatch(/X509v3 Basic Constraints: critical\n\s+CA:FALSE\n/)
      expect(text).toMatch(
        /Extended Key Usage: *\n\s+TLS Web Client Authentication, TLS Web Server/,
      )
      expect(text.match(/URI:/g)).toHaveLength(1)
    }
  })

  test.skipIf(missing('openssl'))(
    'that openssl verifies strictly against the bundle alone',
    async () => {
      const file = (name: string) => join(world.dir, name)
      writeFileSync(file('bundle.pem'), (await caOf()).toString())
      for (const [i, { certificate }] of agents.entries()) {
        writeFileSync(file(`${i}.pem`), toPem(certificate.raw))
        const seconds = String(Math.floor(world.clock.now() / 1000))
        const how = ['-x509_strict', '-purpose', 'sslserver', '-attime', seconds]
        const args = ['verify', ...how, '-CAfile', file('bundle.pem'), file(`${i}.pem`)]
        expect(execFileSync('openssl', args, { encoding: 'utf8' })).toContain('OK')
      }
    },
  )
})

describe('the trust bundle', () => {
  test('has each CA once, as a key with its own certificate and nothing else', async () => {
    const { keys } = await bundle()
    for (const key of keys.filter(({ use }) => use === 'x509-svid')) {
      expect(key.kid).toBeUndefined()
      const ca = new X509Certificate(Buffer.from(key.x5c?.[0] ?? '', 'base64'))
      expect(ca.ca).toBe(true)
      const { x, y } = ca.publicKey.export({ format: 'jwk' })
      expect([key.x, key.y]).toEqual([x, y])
    }
  })
  test('does not have the user CA: a certificate of a user is no workload', async () => {
    const [pem = ''] = world.plane.caBundle.user.x509
    const user = new X509Certificate(pem).raw.toString('base64')
    expect(JSON.stringify(await bundle())).not.toContain(user)
  })
  test('counts up when a CA changes, and has both while a rotation goes on', async () => {
    const before = await bundle()
    const rotated = await world.op('POST', '/v1/cas/host/rotate', { phase: 'init' })
    expect(rotated.status, rotated.text).toBe(200)
    const after = await bundle()
    expect(after.spiffe_sequence).toBeGreaterThan(before.spiffe_sequence)
    expect(after.spiffe_refresh_hint).toBe(300)
    expect(after.keys.filter(({ use }) => use === 'x509-svid')).toHaveLength(2)
  })
})

describe('the cluster as an OIDC issuer', () => {
  test('is discovered as OpenID Connect Discovery says: its document names itself and its keys', async () => {
    const { body } = await world.call('GET', '/.well-known/openid-configuration')
    const document = openidConfiguration.parse(body)
    expect(document.issuer).toBe(ORIGIN)
    const path = document.jwks_uri.slice(ORIGIN.length)
    const { body: set } = await world.call('GET', path)
    const [key] = (set as { keys: JsonWebKey[] }).keys
    expect(key).toMatchObject({ use: 'sig', alg: 'ES256', kty: 'EC' })
    expect(key).not.toHaveProperty('d')
    expect(createPublicKey({ key: { ...key }, format: 'jwk' }).asymmetricKeyType).toBe('ec')
  })
  test('keeps its key, made by the first who asked, and has it in the bundle too', async () => {
    const ask = async () => (await world.call('GET', '/.well-known/jwks.json')).text
    expect(await ask()).toBe(await ask())
    const { keys } = JSON.parse(await ask()) as { keys: { kid: string }[] }
    const jwt = (await bundle()).keys.filter(({ use }) => use === 'jwt-svid')
    expect(jwt.map(({ kid }) => kid)).toEqual(keys.map(({ kid }) => kid))
  })
})
