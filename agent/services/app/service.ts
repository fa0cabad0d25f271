/**
 * The app service: TLS from the user's side ends here, the name asked inside it decides, and the bytes go to the registered
 * target and nowhere else. The session ends when either side ends it, when the policy stops allowing it, when it idles longer
 * than the role says, and when the certificate ends.
 */
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { Grant, Want } from '../../../core/access/decide.ts'
import type { Timer } from '../../../core/clock.ts'
import type { Labels } from '../../../core/domain/name.ts'
import { AppError, reasonOf, toAppError } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'
import {
  encodeInnerAnswer,
  innerRefusal,
  parseInnerHello,
  readInnerFrame,
} from '../../../core/tunnel/inner.ts'
import type { AppTarget } from '../../config.ts'
import type { AgentService, ServiceContext, ServiceStream, UserIdentity } from '../service.ts'
import { dialTarget } from './dial.ts'
import { createInnerTls } from './inner-tls.ts'
import { spliceDuplex } from './splice.ts'

export interface AppServiceOptions {
  /** Live: a reload of the configuration changes the answer. */
  apps(): readonly AppTarget[]
  /** An app's labels with those that the agent's token adds. */
  labelled(own: Labels): Labels
}

const denied = (internal: string): AppError =>
  new AppError('ERR_ACCESS_DENIED', undefined, { internal })

export function createAppService(ctx: ServiceContext, options: AppServiceOptions): AgentService {
  const { clock, log } = ctx
  const tls = createInnerTls(ctx)
  const live = new Set<{ readonly stop: AbortController; readonly ended: Promise<void> }>()

  const find = (name: string): AppTarget | undefined =>
    options.apps().find((app) => app.name === name)
  const wantOf = (app: AppTarget): Want => ({
    kind: 'app',
    labels: options.labelled(app.labels),
  })

  /** The target and what the role grants, on what is known now. Throws ERR_ACCESS_DENIED, the same for missing and denied. */
  function allowed(identity: UserIdentity, name: string): { app: AppTarget; grant: Grant } {
    const app = find(name)
    if (!app) throw denied('no such app here')
    const decision = ctx.policy.decide(identity, wantOf(app))
    if (!decision.allow) throw denied(`${decision.reason}: ${decision.why}`)
    return { app, grant: decision.grant }
  }

  const audit = (
    stream: ServiceStream,
    event: Pick<Parameters<ServiceContext['audit']>[0], 'type' | 'outcome' | 'reason' | 'fields'>,
  ): void =>
    ctx.audit({
      ...event,
      actor: stream.identity.user,
      resource: `app/${stream.resource.name}`,
      session: stream.sessionId,
    })

  /** TLS, then the first frame. Everything within one deadline. */
  async function openInner(
    stream: ServiceStream,
    signal: AbortSignal,
  ): Promise<{ socket: TLSSocket; identity: UserIdentity; name: string }> {
    const late = new AbortController()
    const timer = clock.after(LIMITS.handshakeTimeout.value, () =>
      late.abort(new AppError('ERR_TIMEOUT', undefined, { internal: 'inner handshake' })),
    )
    try {
      const within = AbortSignal.any([signal, late.signal])
      const { socket, identity } = await tls.accept(stream.duplex, within)
      // Listened to from here on, so that a broken peer is never an unhandled error.
      socket.on('error', () => undefined)
      if (identity.user !== stream.identity.user) {
        socket.destroy()
        throw new AppError('ERR_PROOF_INVALID', undefined, {
          internal: `the TLS certificate is of user ${identity.user}`,
        })
      }
      try {
        const { name } = parseInnerHello(await readInnerFrame(socket, within))
        return { socket, identity, name }
      } catch (e) {
        socket.destroy()
        throw e
      }
    } finally {
      timer.cancel()
    }
  }

  async function run(stream: ServiceStream, signal: AbortSignal): Promise<void> {
    const { socket, identity, name } = await openInner(stream, signal)
    let target: Duplex & { readonly bytesRead: number; readonly bytesWritten: number }
    let grant: Grant
    try {
      // The offer, signed by the user, and TLS must name one app; the proxy wrote neither.
      if (name !== stream.resource.name) throw denied(`TLS asks for app ${name}`)
      const now = allowed(identity, name)
      grant = now.grant
      target = await dialTarget(now.app, { clock, signal })
    } catch (e) {
      socket.end(encodeInnerAnswer(innerRefusal(toAppError(e))))
      socket.resume()
      throw e
    }
    const fields = {
      stream: stream.streamId,
      ...(stream.claimedSource !== undefined && { claimed_source: stream.claimedSource }),
    }
    audit(stream, { type: 'app.start', outcome: 'ok', reason: undefined, fields })
    const started = clock.monotonic()
    socket.write(encodeInnerAnswer({ v: 1, ok: true }))
    const { ended, cut } = spliceDuplex(socket, target, stream.duplex)
    const release = watch({ stream, identity, name, grant, target, signal, cut })
    const failure = await ended
    release()
    audit(stream, {
      type: 'app.end',
      outcome: failure ? 'failed' : 'ok',
      reason: failure && reasonOf(failure),
      fields: {
        bytes_in: target.bytesWritten,
        bytes_out: target.bytesRead,
        duration_ms: Math.round(clock.monotonic() - started),
      },
    })
  }

  interface Watched {
    readonly stream: ServiceStream
    readonly identity: UserIdentity
    readonly name: string
    readonly grant: Grant
    readonly target: { readonly bytesRead: number; readonly bytesWritten: number }
    readonly signal: AbortSignal
    readonly cut: (reason: Error) => void
  }

  /** What ends a session from outside. Returns how to stop watching. */
  function watch(w: Watched): () => void {
    const again = (): void => {
      try {
        allowed(w.identity, w.name)
      } catch (e) {
        w.cut(e as Error)
      }
    }
    const onAbort = (): void => w.cut(toAppError(w.signal.reason))
    const timers: Timer[] = [
      clock.after(Math.max(0, w.identity.expires - clock.now()), () =>
        w.cut(denied('certificate expired')),
      ),
    ]
    const { idleTimeout } = w.grant
    if (idleTimeout !== undefined) {
      let seen = -1
      timers.push(
        clock.every(idleTimeout, () => {
          const total = w.target.bytesRead + w.target.bytesWritten
          if (total === seen) w.cut(denied('idle for longer than the role allows'))
          seen = total
        }),
      )
    }
    const unsubscribe = ctx.policy.onChange(again)
    // Between the decision and this line the policy may have changed.
    again()
    if (w.signal.aborted) onAbort()
    w.signal.addEventListener('abort', onAbort, { once: true })
    return () => {
      unsubscribe()
      for (const timer of timers) timer.cancel()
      w.signal.removeEventListener('abort', onAbort)
    }
  }

  async function guarded(stream: ServiceStream, signal: AbortSignal): Promise<void> {
    try {
      await run(stream, signal)
    } catch (e) {
      const error = toAppError(e)
      const reason = reasonOf(error)
      audit(stream, { type: 'session.refused', outcome: 'refused', reason, fields: {} })
      log.info('app.refused', { app: stream.resource.name, session: stream.sessionId, reason })
      // A refusal that is on its way inside TLS gets out first; everything else is cut here.
      if (!stream.duplex.writableEnded) await flushed(stream.duplex, signal)
    }
  }

  /** Waits, bounded, until the stream has closed; then it is closed in any case. */
  function flushed(duplex: Duplex, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel()
        signal.removeEventListener('abort', done)
        duplex.destroy()
        resolve()
      }
      const timer = clock.after(2000, done)
      signal.addEventListener('abort', done, { once: true })
      duplex.on('error', done)
      duplex.on('close', done)
      if (duplex.destroyed || signal.aborted) done()
      else duplex.resume()
    })
  }

  return {
    kind: 'app',
    want: (resource) => {
      const app = resource.kind === 'app' ? find(resource.name) : undefined
      return app && wantOf(app)
    },

    async serve(stream, signal) {
      stream.duplex.on('error', () => undefined)
      if (live.size >= LIMITS.appConnections.value) {
        stream.duplex.destroy(
          new AppError('ERR_RATE_LIMITED', 'this agent serves too many streams'),
        )
        return
      }
      const stop = new AbortController()
      const ended = guarded(stream, AbortSignal.any([signal, stop.signal]))
      const entry = { stop, ended }
      live.add(entry)
      await ended
      live.delete(entry)
    },

    async close() {
      const all = [...live]
      for (const { stop } of all) stop.abort(new AppError('ERR_TUNNEL_CLOSED', 'the agent stops'))
      await Promise.all(all.map(({ ended }) => ended))
    },
  }
}
