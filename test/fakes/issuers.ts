/**
 * Every issuer of id tokens that we know, under its own name: one server on loopback that answers for all of them by the name it is
 * called, over real HTTPS, and signs for each with one key. What the issuers' own machines do is proven elsewhere or not at all.
 */
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { StsAddress } from '../../functions/join/sts.ts'
import { jwksOf, signIdToken, signingKey, type SigningKey } from '../support/id-tokens.ts'
import { serverTls } from '../support/tls.ts'

export interface FakeIssuers {
  readonly at: (host: string) => StsAddress | undefined
  /** What they all sign with. */
  readonly key: SigningKey
  /** A token by this issuer; iat, exp and jti unless given. */
  issue(issuer: string, claims: object): string
  close(): Promise<void>
}

export async function fakeIssuers(issuers: readonly string[]): Promise<FakeIssuers> {
  const key = signingKey('RS256')
  const hosts = [...new Set(issuers.map((issuer) => new URL(issuer).hostname))]
  const tls = await serverTls(undefined, hosts)
  const server = createServer(tls.options, (request, response) => {
    const called = `https://${(request.headers.host ?? '').replace(/:\d+$/, '')}${request.url ?? ''}`
    response.setHeader('content-type', 'application/json')
    if (called.endsWith('/the-keys')) return void response.end(jwksOf(key))
    const issuer = issuers.find(
      (one) => called === `${one.replace(/\/$/, '')}/.well-known/openid-configuration`,
    )
    if (issuer === undefined) return void response.writeHead(404).end('{}')
    const jwks_uri = `https://${new URL(issuer).hostname}/the-keys`
    response.end(JSON.stringify({ issuer, jwks_uri }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  let serial = 0
  return {
    key,
    at: (host) => (hosts.includes(host) ? { host: '127.0.0.1', port, ca: tls.ca } : undefined),
    issue(issuer, claims) {
      const now = Math.floor(Date.now() / 1000)
      const times = { iat: now, nbf: now, exp: now + 300, jti: `t-${++serial}` }
      return signIdToken(key, { iss: issuer, ...times, ...claims })
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
