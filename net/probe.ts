/**
 * One hop at a time, for whoever looks for the one that is broken: name, TCP, TLS, upgrade, the proxy's half of the handshake.
 * Nothing here is kept open, and no identity of ours is shown.
 */
import { lookup } from 'node:dns/promises'
import type { ConnectionOptions, DetailedPeerCertificate, TLSSocket } from 'node:tls'
import type { Certificate } from '../core/certs/x509-read.ts'
import type { Clock } from '../core/clock.ts'
import { AppError } from '../core/errors.ts'
import type { ProxyId } from '../core/ids.ts'
import { LIMITS } from '../core/limits.ts'
import type { Random } from '../core/random.ts'
import { checkChallenge, dialledAddress, makeHello } from '../core/tunnel/handshake.ts'
import { decodeChallenge } from '../core/tunnel/handshake-messages.ts'
import { dial } from './dial.ts'
import { HandshakeChannel } from './handshake-channel.ts'
import { tlsOptions, type Trust } from './trust.ts'
import { upgrade, type TunnelPurpose } from './tunnel-client.ts'
import { TUNNEL_PATH } from './tunnel-path.ts'
import type { ForwardProxy } from './forward-proxy.ts'

export interface Hop {
  readonly host: string
  readonly port: number
  readonly clock: Clock
  readonly proxy?: ForwardProxy | undefined
}

/** Rejects with what the resolver said, or ERR_TIMEOUT. */
export async function resolveName(host: string, clock: Clock): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(LIMITS.dialTimeout.value, () =>
      reject(new AppError('ERR_TIMEOUT', `the resolver did not answer for ${host}`)),
    )
    lookup(host, { all: true })
      .then((found) => resolve(found.map(({ address }) => address)), reject)
      .finally(() => timer.cancel())
  })
}

/** Connects and hangs up. Answers how long it took, ms. */
export async function reachTcp(hop: Hop): Promise<number> {
  const began = hop.clock.monotonic()
  const socket = await dial({ ...hop, timeout: LIMITS.dialTimeout.value })
  socket.destroy()
  return hop.clock.monotonic() - began
}

export interface SeenTls {
  readonly protocol: string
  /** DER, leaf first, as the server sent it. */
  readonly chain: readonly Buffer[]
  /** What the leaf is for. */
  readonly names: string
  readonly validTo: string
}

function chainOf(leaf: DetailedPeerCertificate): Buffer[] {
  const chain: Buffer[] = []
  for (let at: DetailedPeerCertificate | undefined = leaf; at?.raw; at = at.issuerCertificate) {
    if (chain.some((seen) => seen.equals(at?.raw ?? seen)) || chain.length > 8) break
    chain.push(at.raw)
  }
  return chain
}

/** A TLS handshake. With `trust` undefined nothing is verified: to see what the other end shows. */
export async function reachTls(hop: Hop, trust: Trust | undefined): Promise<SeenTls> {
  const tls: ConnectionOptions = trust ? tlsOptions(trust) : { rejectUnauthorized: false }
  const options = { ...hop, tls, timeout: LIMITS.dialTimeout.value }
  const socket = (await dial(options)) as TLSSocket
  const leaf = socket.getPeerCertificate(true)
  const seen = {
    protocol: socket.getProtocol() ?? 'unknown',
    chain: chainOf(leaf),
    names: leaf.subjectaltname ?? '',
    validTo: leaf.valid_to,
  }
  socket.destroy()
  return seen
}

export interface ProxyProbe {
  readonly url: string
  readonly trust: Trust
  readonly cluster: string
  readonly hostCas: readonly Certificate[]
  readonly purpose: TunnelPurpose
  readonly clock: Clock
  readonly random: Random
  readonly proxy?: ForwardProxy | undefined
}

/**
 * Upgrades, and then asks the proxy to prove itself. The first promise is the upgrade's; `proven` hangs up when it settles,
 * before anything was signed by us.
 */
export async function probeProxy(options: ProxyProbe): Promise<{
  proven(): Promise<{ readonly proxyId: ProxyId; readonly liveProxies: number }>
}> {
  const { cluster, hostCas, purpose, clock, random } = options
  const url = new URL(TUNNEL_PATH, options.url)
  const { link, head } = await upgrade(url, options, clock)
  const timeout = LIMITS.handshakeTimeout.value
  const channel = new HandshakeChannel(link, clock, timeout, LIMITS.handshakeMessage.value)
  link.start(head)
  return {
    async proven() {
      try {
        const hello = makeHello(purpose, dialledAddress(url), random)
        channel.send(hello)
        const said = await channel.receive(decodeChallenge)
        const proxyId = checkChallenge(hello, said, { cluster, hostCas, now: clock.now() })
        return { proxyId, liveProxies: said.liveProxies }
      } finally {
        channel.fail(new AppError('ERR_TUNNEL_CLOSED'))
        link.terminate()
      }
    },
  }
}
