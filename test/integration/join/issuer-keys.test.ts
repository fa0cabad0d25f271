/** Keys of issuers over real HTTPS: read once, remembered, rotated, kept through an outage, and never from anywhere else. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Issuer, IssuerKeys } from '../../../core/join/oidc/jwks.ts'
import { LIMITS } from '../../../core/limits.ts'
import { createIssuerKeys, type IssuerAccess } from '../../../functions/join/issuer-keys.ts'
import { openIssuer, type Behaviour, type OidcIssuer } from '../../fakes/oidc-issuer.ts'
import { handClock, type HandClock } from '../../support/clock.ts'
import { recordingLog } from '../../support/recording-log.ts'

let issuer: OidcIssuer
let clock: HandClock
let keys: IssuerKeys
const open = (access: IssuerAccess = { allowPrivate: true }): IssuerKeys =>
  createIssuerKeys({ clock, log: recordingLog(), ...access })
beforeEach(async () => {
  issuer = await openIssuer()
  clock = handClock()
  keys = open()
})
afterEach(() => issuer.close())

const named = (): Issuer => ({ url: issuer.url, ca: issuer.ca })
const kids = async (kid?: string): Promise<(string | undefined)[]> =>
  (await keys.of(named(), kid)).map((key) => key.kid)
const published = (): string => {
  const { keys } = JSON.parse(issuer.jwks()) as { keys: { kid: string }[] }
  return keys[0]?.kid ?? ''
}
const reads = (): number => issuer.asked.filter((path) => path === '/keys').length

describe('keys of an issuer', () => {
  test('are read once for a hundred joins at once, and remembered for ten minutes', async () => {
    await Promise.all(Array.from({ length: 100 }, () => kids(published())))
    clock.advance(LIMITS.jwksTtl.value - 1)
    expect(await kids(published())).toEqual([published()])
    expect(reads()).toBe(1)
    clock.advance(1)
    await kids(published())
    expect(reads()).toBe(2)
  })

  test('are read again for a new kid after a rotation', async () => {
    await kids(published())
    clock.advance(LIMITS.jwksCooldown.value)
    issuer.rotate()
    expect(await kids(published())).toEqual([published()])
    expect(reads()).toBe(2)
  })

  // Id tokens with invented kids must not make us call the issuer for each of them.
  test('are not read again for fifty unknown kids inside the cooldown', async () => {
    await kids(published())
    await Promise.all(Array.from({ length: 50 }, (_, i) => kids(`nobody-${i}`)))
    expect(reads()).toBe(1)
    clock.advance(LIMITS.jwksCooldown.value)
    await Promise.all(Array.from({ length: 50 }, (_, i) => kids(`nobody-${i}`)))
    expect(reads()).toBe(2)
  })

  test('are used for a day while the issuer is down, and no longer', async () => {
    const old = await kids()
    issuer.behave('status 500')
    clock.advance(LIMITS.jwksStale.value - 1)
    expect(await kids()).toEqual(old)
    clock.advance(LIMITS.jwksCooldown.value)
    await expect(kids()).rejects.toMatchObject({ code: 'ERR_UNREACHABLE' })
    issuer.behave('well')
    clock.advance(LIMITS.jwksCooldown.value)
    expect(await kids()).toEqual(old)
  })

  test('belong to the issuer alone: two issuers with one kid never share keys', async () => {
    const other = await openIssuer({ path: '/other' })
    try {
      const [mine] = await keys.of(named(), undefined)
      const [theirs] = await keys.of({ url: other.url, ca: other.ca }, undefined)
      expect(mine && theirs && mine.key.equals(theirs.key)).toBe(false)
    } finally {
      await other.close()
    }
  })
})

describe('an issuer is not believed', () => {
  test.each<[string, Behaviour, RegExp]>([
    ['whose key set is a redirect', 'redirect', /status 302; redirects are not followed/],
    [
      'whose discovery document names another issuer',
      'impostor',
      /names https:\/\/issuer\.example/,
    ],
    ['whose keys lie on plain HTTP', 'plain', /only plain https/],
    ['with twenty thousand keys', 'twenty thousand keys', /too large/],
    ['that answers a page', 'html', /not JSON/],
    ['that publishes a private key', 'private key', /private key/],
    ['whose key set names a member twice', 'duplicate keys member', /named twice/],
  ])('%s', async (_, behaviour, reason) => {
    issuer.behave(behaviour)
    await expect(kids()).rejects.toMatchObject({
      code: 'ERR_JOIN_REFUSED',
      message: 'The join was refused',
      internal: expect.stringMatching(reason) as string,
    })
    expect(issuer.asked).not.toContain('/moved')
  })

  test('that hangs: given up after two seconds, as something to try again', async () => {
    issuer.behave('hang')
    const asked = kids()
    await issuer.seen('/keys')
    clock.advance(LIMITS.jwksTimeout.value)
    await expect(asked).rejects.toMatchObject({
      code: 'ERR_UNREACHABLE',
      internal: expect.stringMatching(/no answer in time/) as string,
    })
  })

  test('twice in a row: a failure is remembered for the cooldown', async () => {
    issuer.behave('status 500')
    await expect(kids()).rejects.toThrow()
    const { length } = issuer.asked
    issuer.behave('well')
    await expect(kids()).rejects.toThrow()
    expect(issuer.asked).toHaveLength(length)
  })

  test('whose certificate nobody vouches for', async () => {
    await expect(keys.of({ url: issuer.url, ca: undefined }, undefined)).rejects.toMatchObject({
      code: 'ERR_UNREACHABLE',
      internal: expect.stringMatching(/certificate|issuer/) as string,
    })
  })

  // An issuer's URL as a way into the network of the server.
  test.each([
    ['by a name that resolves there', () => issuer.url],
    ['by its number', () => issuer.url.replace('localhost', '127.0.0.1')],
    ['by its number in another spelling', () => issuer.url.replace('localhost', '2130706433')],
    ['by a mapped number', () => issuer.url.replace('localhost', '[::ffff:127.0.0.1]')],
    ['as a metadata service', () => 'https://169.254.169.254'],
    ['as a private address', () => 'https://10.0.0.1'],
    ['as a unique local address', () => 'https://[fd00:ec2::254]'],
    ['as an address by NAT64', () => 'https://[64:ff9b::a9fe:a9fe]'],
  ])('SPIRE 1.14.2, CVE-2026-45796 (Coder): inside our own network, %s', async (_, url) => {
    keys = open({})
    await expect(keys.of({ url: url(), ca: issuer.ca }, undefined)).rejects.toMatchObject({
      internal: expect.stringMatching(/not public/) as string,
    })
    expect(issuer.asked).toEqual([])
  })
})
