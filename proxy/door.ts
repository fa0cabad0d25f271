/**
 * From an HTTP upgrade to a tunnel: limits first, then the WebSocket, then the handshake that proves who it is, then whether
 * this identity may have a tunnel here now. Off the accept path and bounded in number and time, so that slow or hostile peers
 * cost a slot for a while and nothing else.
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Identity } from '../core/certs/identity.ts'
import type { Certificate } from '../core/certs/x509-read.ts'
import { AppError, reasonOf, toAppError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Metrics } from '../core/metrics/metrics.ts'
import { sourceKey } from '../core/source-address.ts'
import { SUBPROTOCOL } from '../core/tunnel/version.ts'
import type { TunnelPurpose } from '../net/tunnel-client.ts'
import {
  acceptTunnel,
  PEER_QUERY,
  TUNNEL_PATH,
  tunnelUpgrade,
  type AcceptedTunnel,
  type TunnelServerOptions,
  type WebSocketLink,
} from '../net/tunnel-server.ts'
import type { Admission } from './admission.ts'
import type { ProxyCounters } from './counters.ts'
import { refuseUpgrade } from './http.ts'
import { createPacer } from './pacing.ts'

/** What the door tells about one tunnel. */
export interface Guest {
  onOpen: TunnelServerOptions['onOpen']
  onGoAway(): void
  onSuspect(suspect: boolean): void
  onClose(err: AppError | undefined): void
}

export interface DoorDeps<G extends Guest> {
  readonly admission: Admission
  /** Tunnels open now. */
  tunnels(): number
  /** Why nobody is taken now, or nobody but other proxies; undefined: come in. */
  closedBecause(purpose: 'peer' | undefined): AppError | undefined
  /** Throws to refuse an identity that was proven. */
  authorise(identity: Identity, purpose: TunnelPurpose, certificate: Certificate): void
  /** For each peer that comes in, before its handshake. `source` is its address. */
  guest(source: string): G
  /** The tunnel is open; called once for each guest at most, before its first stream or after it. */
  welcome(accepted: AcceptedTunnel, guest: G, source: string): void
  readonly server: Omit<
    TunnelServerOptions,
    'authorise' | 'onOpen' | 'onGoAway' | 'onSuspect' | 'onClose'
  >
  readonly counters: ProxyCounters
  readonly metrics: Pick<Metrics, 'inc' | 'observe'>
  readonly log: Log
}

const busy = (message: string, internal: string, retryAfter: number): AppError =>
  new AppError('ERR_PROXY_BUSY', message, { details: { retryAfter }, internal })

/** The offered subprotocols, as RFC 6455 section 4.1 lists them. */
function offers(request: IncomingMessage, protocol: string): boolean {
  const header = request.headers['sec-websocket-protocol'] ?? ''
  return header.split(',').some((offered) => offered.trim() === protocol)
}

export interface Door {
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** Cuts every peer that is still in its handshake. */
  close(): void
}

export function createDoor<G extends Guest>(deps: DoorDeps<G>): Door {
  const { admission, counters, metrics, log } = deps
  const pacer = createPacer(deps.server.clock)
  const entering = new Set<WebSocketLink>()

  function refusal(request: IncomingMessage): AppError | undefined {
    if ((request.url ?? '').split('?')[0] !== TUNNEL_PATH) return new AppError('ERR_NOT_FOUND')
    if (!offers(request, SUBPROTOCOL)) return new AppError('ERR_TUNNEL_VERSION')
    return deps.closedBecause(request.url === TUNNEL_PATH + PEER_QUERY ? 'peer' : undefined)
  }

  function turnAway(socket: Duplex, error: AppError): void {
    counters.upgradesRefused += 1
    metrics.inc('postern_proxy_upgrades_refused_total', { code: error.code })
    refuseUpgrade(socket, error)
  }

  async function handshake(link: WebSocketLink, source: string): Promise<void> {
    const guest = deps.guest(source)
    entering.add(link)
    const { clock } = deps.server
    const began = clock.monotonic()
    try {
      const accepted = await acceptTunnel(link, {
        ...deps.server,
        authorise: (identity, purpose, _connId, certificate) =>
          deps.authorise(identity, purpose, certificate),
        onOpen: (stream, payload, tunnel) => guest.onOpen(stream, payload, tunnel),
        onGoAway: () => guest.onGoAway(),
        onSuspect: (suspect) => guest.onSuspect(suspect),
        onClose: (err) => guest.onClose(err),
      })
      metrics.observe('postern_proxy_handshake_seconds', (clock.monotonic() - began) / 1000)
      deps.welcome(accepted, guest, source)
    } catch (e) {
      counters.handshakesRefused += 1
      const error = toAppError(e)
      metrics.inc('postern_proxy_handshakes_refused_total', { code: error.code })
      log.info('proxy.handshake_refused', { source, code: error.code, reason: reasonOf(error) })
    } finally {
      entering.delete(link)
    }
  }

  function enter(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const peer = request.socket.remoteAddress ?? 'unknown'
    const forwarded = request.headers['x-forwarded-for']
    const source = admission.sourceOf(peer, forwarded?.toString())
    const slot = admission.admit(sourceKey(source), deps.tunnels())
    if (typeof slot === 'string')
      return turnAway(
        socket,
        busy('too many tunnels or handshakes', `limit: ${slot}`, pacer.appointment()),
      )
    // Whatever happens to the socket, the slot is freed; after the handshake that is too late to matter.
    socket.once('close', () => slot.release())
    tunnelUpgrade(request, socket, head, deps.server.clock, (link) => {
      void handshake(link, source).finally(() => {
        pacer.finished()
        slot.release()
      })
    })
  }

  return {
    handleUpgrade(request, socket, head) {
      socket.on('error', () => undefined)
      const refused = refusal(request)
      if (refused) turnAway(socket, refused)
      else enter(request, socket, head)
    },
    close() {
      for (const link of entering) link.terminate()
    },
  }
}
