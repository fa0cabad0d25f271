/**
 * An issuer of id tokens that really signs, over real HTTPS on loopback, with discovery, a key set, rotation, and the ways in which
 * issuers fail. It also hands out tokens as the services of CI systems do.
 */
import { createServer } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { EventEmitter, once } from 'node:events'
import {
  jwkOf,
  jwksOf,
  signIdToken,
  signingKey,
  type SigningAlgorithm,
} from '../support/id-tokens.ts'
import { serverTls } from '../support/tls.ts'

export type Behaviour =
  | 'well'
  /** Never answers a request for its keys. */
  | 'hang'
  /** Sends its callers to another place for its keys, which has them. */
  | 'redirect'
  /** Discovery names another issuer. */
  | 'impostor'
  /** Discovery names keys by plain HTTP. */
  | 'plain'
  | 'twenty thousand keys'
  | 'html'
  | 'status 500'
  | 'private key'
  | 'duplicate keys member'

export interface OidcIssuer {
  readonly url: string
  /** PEM of the CA of its HTTPS. */
  readonly ca: string
  /** Paths asked for so far. */
  readonly asked: readonly string[]
  /** Resolves when this path was asked for. */
  seen(path: string): Promise<void>
  behave(behaviour: Behaviour): void
  /** A new key signs from now on; the old one is not published any more. */
  rotate(): void
  jwks(): string
  /** With iss, iat, exp and jti unless given. */
  issue(claims: Readonly<Record<string, unknown>>): string
  close(): Promise<void>
}

export async function openIssuer(
  options: {
    readonly alg?: SigningAlgorithm
    /** Path of the issuer under its host. */
    readonly path?: string
    /** Seconds; default the machine's clock. */
    readonly now?: () => number
    /** What a request to `/token?audience=…` with the bearer `runner` is answered with. */
    readonly runner?: Readonly<Record<string, unknown>>
  } = {},
): Promise<OidcIssuer> {
  const { alg = 'ES256', path = '', now = () => Math.floor(Date.now() / 1000) } = options
  const tls = await serverTls()
  let key = signingKey(alg)
  let behaviour: Behaviour = 'well'
  let serial = 0
  const asked: string[] = []
  const asking = new EventEmitter()

  const issue: OidcIssuer['issue'] = (claims) =>
    signIdToken(key, {
      iss: url,
      iat: now(),
      nbf: now(),
      exp: now() + 300,
      jti: `t-${++serial}`,
      ...claims,
    })

  function keySet(): string {
    const jwk = jwkOf(key)
    switch (behaviour) {
      case 'twenty thousand keys':
        return JSON.stringify({ keys: Array.from({ length: 20_000 }, () => jwk) })
      case 'html':
        return '<!doctype html><title>sign in</title>'
      case 'private key':
        return JSON.stringify({
          keys: [{ ...key.privateKey.export({ format: 'jwk' }), kid: key.kid }],
        })
      case 'duplicate keys member':
        return `{"keys":[],${jwksOf(key).slice(1)}`
      default:
        return jwksOf(key)
    }
  }

  function discovery(): object {
    const jwks = `${url}/keys`
    return {
      issuer: behaviour === 'impostor' ? 'https://issuer.example' : url,
      jwks_uri: behaviour === 'plain' ? jwks.replace('https:', 'http:') : jwks,
    }
  }

  function token(req: IncomingMessage, res: ServerResponse): void {
    if (req.headers.authorization !== 'Bearer runner') return void res.writeHead(401).end()
    const audience = new URL(req.url ?? '', url).searchParams.get('audience')
    const value = issue({ ...options.runner, ...(audience === null ? {} : { aud: audience }) })
    // GitHub calls it value, Azure DevOps oidcToken.
    res.end(JSON.stringify({ count: value.length, value, oidcToken: value }))
  }

  const server = createServer(tls.options, (req, res) => {
    const [where = ''] = (req.url ?? '').split('?')
    asked.push(where)
    asking.emit(where)
    res.setHeader('content-type', 'application/json')
    if (behaviour === 'status 500') return void res.writeHead(500).end()
    switch (where) {
      case `${path}/.well-known/openid-configuration`:
        return void res.end(JSON.stringify(discovery()))
      case `${path}/keys`:
        if (behaviour === 'hang') return
        if (behaviour === 'redirect') return void res.writeHead(302, { location: '/moved' }).end()
        return void res.end(keySet())
      case '/moved':
        return void res.end(jwksOf(key))
      case `${path}/token`:
        return token(req, res)
      default:
        res.writeHead(404).end()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `https://localhost:${(server.address() as AddressInfo).port}${path}`

  return {
    url,
    ca: tls.ca,
    asked,
    async seen(where) {
      if (!asked.includes(where)) await once(asking, where)
    },
    behave: (next) => void (behaviour = next),
    rotate: () => void (key = signingKey(alg)),
    jwks: () => jwksOf(key),
    issue,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
