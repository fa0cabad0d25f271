/**
 * `postern proxy app NAME`: a local listener. Each connection becomes a stream with TLS inside, from here to the agent, so that
 * the proxy sees ciphertext only. (Surface first; implementation follows.)
 */
import type { AppError } from '../../core/errors.ts'
import type { ProxySession } from './session.ts'
import type { StoredProfile } from './profile.ts'

export interface AppListenerOptions {
  readonly session: ProxySession
  readonly profile: StoredProfile
  readonly name: string
  /** Default 127.0.0.1 and a free port. */
  readonly host?: string | undefined
  readonly port?: number | undefined
  /** A connection failed; the client saw its socket close (for http apps: an HTTP answer). */
  onError?: ((error: AppError) => void) | undefined
  readonly signal?: AbortSignal | undefined
}
export interface AppListener {
  readonly host: string
  readonly port: number
  /** Connections open now. */
  readonly connections: number
  close(): Promise<void>
}
/** Resolves when it listens. */
export declare function listenApp(options: AppListenerOptions): Promise<AppListener>
