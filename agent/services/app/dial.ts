/** Dials a registered target. Only what the configuration names is ever dialled; no address comes from a user. */
import { connect, type Socket } from 'node:net'
import type { Clock } from '../../../core/clock.ts'
import { AppError, toAppError } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'

/** Rejects with ERR_UPSTREAM_UNREACHABLE or the signal's reason. */
export function dialTarget(
  target: { readonly host: string; readonly port: number },
  options: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<Socket> {
  const { host, port } = target
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true })
    const fail = (error: unknown): void => {
      settle()
      socket.on('error', () => undefined)
      socket.destroy()
      reject(toAppError(error))
    }
    const unreachable = (why: string, cause?: unknown): void =>
      fail(
        new AppError('ERR_UPSTREAM_UNREACHABLE', undefined, {
          internal: `${host}:${port}: ${why}`,
          cause,
        }),
      )
    const onConnect = (): void => {
      settle()
      resolve(socket)
    }
    const onError = (e: NodeJS.ErrnoException): void => unreachable(e.code ?? e.message, e)
    const onAbort = (): void => fail(options.signal.reason)
    const timer = options.clock.after(LIMITS.appDialTimeout.value, () => unreachable('timeout'))
    const settle = (): void => {
      timer.cancel()
      socket.off('connect', onConnect)
      socket.off('error', onError)
      options.signal.removeEventListener('abort', onAbort)
    }
    if (options.signal.aborted) return onAbort()
    socket.on('connect', onConnect)
    socket.on('error', onError)
    options.signal.addEventListener('abort', onAbort, { once: true })
  })
}
