/**
 * One GET to an issuer: HTTPS, no redirect, a public address, capped in size and time. What comes back is untrusted; who sent it
 * was proven by TLS.
 */
import { Agent, request, type RequestOptions } from 'node:https'
import { isIP } from 'node:net'
import { AppError } from '../../core/errors.ts'
import type { Clock } from '../../core/clock.ts'
import { refuse } from '../../core/join/oidc/verify.ts'
import { LIMITS } from '../../core/limits.ts'
import type { StsAddress } from './sts.ts'
import { isPublicAddress, publicLookup } from './public-address.ts'

export interface FetchOptions {
  readonly clock: Clock
  /** PEM; undefined = the public CAs. */
  readonly ca: string | undefined
  /** Private addresses may be called as well. */
  readonly allowPrivate: boolean
  /** For tests: where a server of this name listens instead. */
  readonly at?: ((host: string) => StsAddress | undefined) | undefined
  /** Sent besides our own. */
  readonly headers?: Readonly<Record<string, string>>
  /** What it is, for messages; default `issuer`. */
  readonly what?: string
}

/** It may work later: the agent tries again. */
const unreachableBy = (what: string, url: URL, reason: string): AppError =>
  new AppError('ERR_UNREACHABLE', `The ${what} cannot be reached`, {
    internal: `${what} ${url.host}: ${reason}`,
  })

/** Throws ERR_JOIN_REFUSED for what a repeat would not change, else ERR_UNREACHABLE. */
export function fetchFromIssuer(address: string, options: FetchOptions): Promise<Buffer> {
  const url = new URL(address)
  const { what = 'issuer' } = options
  const refused = (reason: string): AppError => refuse(`${what} ${url.host}: ${reason}`)
  const unreachable = (reason: string): AppError => unreachableBy(what, url, reason)
  const instead = options.at?.(url.hostname)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return new Promise((resolve, reject) => {
    if (url.protocol !== 'https:' || url.username !== '' || url.password !== '')
      return reject(refused('only plain https addresses are called'))
    // A numeric host is never looked up, so it is checked here.
    if (!options.allowPrivate && isIP(host) !== 0 && !isPublicAddress(host))
      return reject(refused('its address is not public'))
    const how: RequestOptions = {
      method: 'GET',
      headers: {
        accept: 'application/json, application/jwk-set+json',
        'user-agent': 'postern',
        host: url.host,
        ...options.headers,
      },
      // Of its own: no connection is shared between issuers or kept until the next join.
      agent: new Agent({ keepAlive: false, maxCachedSessions: 0 }),
      maxHeaderSize: LIMITS.httpHeaders.value,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
      ...(options.allowPrivate || instead ? {} : { lookup: publicLookup }),
      ...(instead
        ? { hostname: instead.host, port: instead.port, servername: url.hostname, ca: instead.ca }
        : {}),
    }
    const req = request(url, how)
    const timer = options.clock.after(LIMITS.jwksTimeout.value, () =>
      end(unreachable('no answer in time')),
    )
    const end = (result: AppError | Buffer): void => {
      timer.cancel()
      if (Buffer.isBuffer(result)) return resolve(result)
      req.destroy()
      reject(result)
    }
    req.on('error', (e) => end(unreachable(e.message)))
    req.on('response', (res) => {
      const status = res.statusCode ?? 0
      if (status >= 500 || status === 429) return end(unreachable(`status ${status}`))
      if (status !== 200) return end(refused(`status ${status}; redirects are not followed`))
      const parts: Buffer[] = []
      let bytes = 0
      res.on('data', (part: Buffer) => {
        bytes += part.length
        if (bytes > LIMITS.jwksSize.value) end(refused('the answer is too large'))
        else parts.push(part)
      })
      res.on('error', (e) => end(unreachable(e.message)))
      res.on('aborted', () => end(unreachable('the answer was cut off')))
      res.on('end', () => end(Buffer.concat(parts)))
    })
    req.end()
  })
}
