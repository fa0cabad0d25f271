/** The way to one address of the cluster: name, TCP, TLS and pin, clock, discovery, and for a proxy the tunnel's first half. */
import { isIP } from 'node:net'
import { caPin } from '../../core/certs/signer.ts'
import { readCertificate, type Certificate } from '../../core/certs/x509-read.ts'
import { discovery, type Discovery } from '../../core/domain/cluster.ts'
import { isAppError, reasonOf } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { parse } from '../../core/parse.ts'
import { exchange } from '../../net/http-exchange.ts'
import { probeProxy, reachTcp, reachTls, resolveName, type Hop } from '../../net/probe.ts'
import { tlsOptions, type Trust } from '../../net/trust.ts'
import type { TunnelPurpose } from '../../net/tunnel-client.ts'
import type { Cli } from '../cli.ts'
import { Problem, warning, type Examination } from './examination.ts'
import type { ForwardProxy } from '../../net/forward-proxy.ts'

export interface Way {
  readonly cli: Cli
  readonly exam: Examination
  /** `https://host:port`. */
  readonly origin: string
  readonly trust: Trust
  readonly pins: readonly string[]
  readonly httpsProxy: ForwardProxy | undefined
}

const portOf = (url: URL): number => Number(url.port || 443)
const hopOf = ({ cli, origin, httpsProxy }: Way): Hop => {
  const url = new URL(origin)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return { host, port: portOf(url), clock: cli.clock, proxy: httpsProxy }
}

/** The code of the system or of OpenSSL that is at the bottom of an error. */
function rootCode(e: unknown): string {
  let code = ''
  for (let at: unknown = e, depth = 0; at instanceof Error && depth < 6; depth++, at = at.cause) {
    const own = (at as NodeJS.ErrnoException).code
    if (typeof own === 'string' && !isAppError(at)) code = own
  }
  return code
}

/** A forward proxy's address without the name and password that may be in it. */
export const withoutLogin = (url: string): string => url.replace(/\/\/[^@/]*@/, '//…@')

/** The forward proxy that leads there, if one does. */
const proxyOf = (hop: Hop): string | undefined => hop.proxy?.(hop.host, hop.port)

function tcpProblem(e: unknown, hop: Hop): Problem {
  const proxy = proxyOf(hop)
  const code = rootCode(e)
  const at = `${hop.host}:${hop.port}`
  const options = { cause: e, code: 'ERR_UNREACHABLE' } as const
  if (proxy !== undefined)
    return new Problem(
      `not reached through HTTPS_PROXY (${reasonOf(e)})`,
      `check HTTPS_PROXY=${withoutLogin(proxy)}: it must run and allow CONNECT to ${at}; NO_PROXY takes an address out`,
      options,
    )
  if (code === 'ECONNREFUSED')
    return new Problem(
      'connection refused',
      `nothing listens on ${at}: start it, or correct the port`,
      options,
    )
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH')
    return new Problem(
      `no route to the host (${code})`,
      'check this machine’s network and routes',
      options,
    )
  return new Problem(
    `no connection (${code || reasonOf(e)})`,
    `let this machine connect to ${at}: a firewall or security group drops it`,
    options,
  )
}

const UNTRUSTED = /SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|CERT_UNTRUSTED/

async function tlsProblem(e: unknown, hop: Hop, pins: readonly string[]): Promise<Problem> {
  const code = rootCode(e)
  const options = { cause: e, code: 'ERR_UNREACHABLE' } as const
  const seen = await reachTls(hop, undefined).catch(() => undefined)
  if (!seen)
    return new Problem(
      `no TLS there (${code || reasonOf(e)})`,
      `${hop.host}:${hop.port} does not speak TLS: check the port, and that a load balancer passes TLS on`,
      options,
    )
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return new Problem(
      `its certificate is for ${seen.names || 'no name'}`,
      'use a name that is in the certificate, or give the server one for this name',
      options,
    )
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return new Problem(
      `its certificate is not valid now (until ${seen.validTo})`,
      'check the clock of this machine first; then renew the server’s certificate',
      options,
    )
  if (UNTRUSTED.test(code) && pins.length > 0)
    return new Problem(
      'its certificate is not of the pinned CA',
      'compare the pin with `postern tokens add` on the cluster; a firewall that opens TLS must leave this address out',
      { ...options, code: 'ERR_CA_PIN_MISMATCH' },
    )
  if (UNTRUSTED.test(code))
    return new Problem(
      'this machine does not trust its certificate',
      'give the CA’s pin (--ca-pin, ca_pin), or your company’s CA with NODE_EXTRA_CA_CERTS=/path/ca.pem',
      options,
    )
  return new Problem(
    `TLS failed (${code || reasonOf(e)})`,
    'see the reason in parentheses',
    options,
  )
}

/** Does the chain that is shown lead to a CA of the pins? A server need not send its root: then the trusted CA is asked. */
function pinned(chain: readonly Buffer[], way: Way): string {
  const shown = [
    ...chain.map((der) => readCertificate(der)),
    ...way.trust.ca.map((pem) => readCertificate(pem)),
  ]
  const found = shown.find((c) => c.isCa && way.pins.includes(caPin(c.publicKey)))
  if (found) return caPin(found.publicKey).slice(0, 23)
  throw new Problem(
    'no CA with the pinned key vouches for it',
    'compare the pin with `postern tokens add` on the cluster; it changes when the CA was rotated',
    { code: 'ERR_CA_PIN_MISMATCH' },
  )
}

/** Name, TCP, TLS, pin. */
export async function examineWay(way: Way): Promise<boolean> {
  const { exam, pins, trust } = way
  const hop = hopOf(way)
  const at = `${hop.host}:${hop.port}`
  const through = proxyOf(hop) === undefined ? '' : ' through HTTPS_PROXY'
  const named = await exam.check('dns', hop.host, async () => {
    if (isIP(hop.host)) return 'an address, no name to resolve'
    if (through !== '') return 'HTTPS_PROXY resolves it'
    const found = await resolveName(hop.host, hop.clock).catch((cause: unknown) => {
      throw new Problem(
        `does not resolve (${rootCode(cause) || reasonOf(cause)})`,
        'check the name, and the resolver of this machine (/etc/resolv.conf)',
        { cause, code: 'ERR_UNREACHABLE' },
      )
    })
    return found.join(', ')
  })
  const reached = await exam.check(
    'tcp',
    at,
    async () => {
      const ms = await reachTcp(hop).catch((e: unknown) => {
        throw tcpProblem(e, hop)
      })
      return `connected in ${ms.toFixed(0)} ms${through}`
    },
    [named],
  )
  let chain: readonly Buffer[] = []
  const secure = await exam.check(
    'tls',
    at,
    async () => {
      const seen = await reachTls(hop, trust).catch(async (e: unknown) => {
        throw await tlsProblem(e, hop, pins)
      })
      chain = seen.chain
      return `${seen.protocol}, certificate until ${seen.validTo}`
    },
    [reached],
  )
  if (pins.length === 0) return secure
  return exam.check('pin', at, () => pinned(chain, way), [secure])
}

/** Seconds by which clocks may differ unnoticed: the header has no fractions, and an answer takes its time. */
const CLOCK_NOTICED = 5

/** Clock and discovery document, over the way that stands. */
export async function examineDiscovery(
  way: Way,
  cluster: string | undefined,
  needs: readonly boolean[],
): Promise<Discovery | undefined> {
  const { cli, exam, origin, trust, httpsProxy } = way
  const at = new URL(origin).host
  let found: Discovery | undefined
  let date: number | undefined
  const answered = await exam.check(
    'discovery',
    at,
    async () => {
      const answer = await exchange({
        method: 'GET',
        url: new URL('/.well-known/postern', origin),
        tls: tlsOptions(trust),
        headers: { accept: 'application/json' },
        timeout: LIMITS.httpTimeout.value,
        maxBytes: LIMITS.httpBody.value,
        clock: cli.clock,
        proxy: httpsProxy,
      })
      const said = answer.headers['date']
      date = typeof said === 'string' ? Date.parse(said) : undefined
      try {
        found = parse(discovery, JSON.parse(answer.body.toString('utf8')))
      } catch (cause) {
        throw new Problem(
          `HTTP ${answer.status}, not Postern’s discovery document`,
          `${at} is something else: give the address of the cluster’s API or proxy`,
          { cause, code: 'ERR_UNREACHABLE' },
        )
      }
      if (cluster !== undefined && found.cluster !== cluster)
        throw new Problem(
          `it is cluster ${found.cluster}, not ${cluster}`,
          'sign in again with postern login --proxy, or correct proxy_server',
          { code: 'ERR_NOT_FOUND' },
        )
      return `cluster ${found.cluster}, API ${found.api}, ${found.proxies.length} proxy address(es)`
    },
    needs,
  )
  await exam.check('clock', at, () => clockOf(date, cli), [answered || date !== undefined])
  return answered ? found : undefined
}

function clockOf(date: number | undefined, cli: Cli): string {
  if (date === undefined || Number.isNaN(date)) return 'the server does not tell its time'
  const off = (cli.clock.now() - date) / 1000
  const shown = `this machine is ${Math.abs(off).toFixed(0)} s ${off > 0 ? 'ahead' : 'behind'}`
  if (Math.abs(off) <= CLOCK_NOTICED) return `within ${CLOCK_NOTICED} s`
  const fix = 'set the clock: timedatectl set-ntp true, or start chronyd'
  if (Math.abs(off) * 1000 <= LIMITS.proofWindow.value) throw warning(shown, fix)
  throw new Problem(shown, fix, { code: 'ERR_CLOCK' })
}

/** Upgrade and the proxy's proof. */
export async function examineProxy(
  way: Way,
  options: {
    readonly cluster: string
    readonly hostCas: readonly Certificate[]
    readonly purpose: TunnelPurpose
  },
  needs: readonly boolean[],
): Promise<boolean> {
  const { cli, exam, trust, httpsProxy } = way
  const { host } = new URL(way.origin)
  let probe: Awaited<ReturnType<typeof probeProxy>> | undefined
  const upgraded = await exam.check(
    'websocket',
    host,
    async () => {
      probe = await probeProxy({
        ...options,
        url: way.origin.replace(/^https:/, 'wss:'),
        trust,
        clock: cli.clock,
        random: cli.random,
        proxy: httpsProxy,
      }).catch((cause: unknown) => {
        const busy = isAppError(cause) && cause.code === 'ERR_PROXY_BUSY'
        throw new Problem(
          `not upgraded (${reasonOf(cause)})`,
          busy
            ? 'the proxy takes nothing new now: wait, or look at its /readyz and log'
            : 'a load balancer in front must pass WebSocket upgrades of /v1/tunnel on (Upgrade and Connection headers, HTTP/1.1)',
          { cause, code: busy ? 'ERR_PROXY_BUSY' : 'ERR_UNREACHABLE' },
        )
      })
      return 'upgraded'
    },
    needs,
  )
  return exam.check(
    'proxy',
    host,
    async () => {
      const proven = await probe?.proven().catch((cause: unknown) => {
        throw new Problem(
          `it did not prove to be a proxy of ${options.cluster} (${reasonOf(cause)})`,
          'the address must be one that the proxy knows as its own; if that is so, somebody else answers there: tell your operator',
          { cause },
        )
      })
      return `${proven?.proxyId ?? ''}, ${proven?.liveProxies ?? 0} alive in the cluster`
    },
    [upgraded],
  )
}
