/** Keeps one tunnel connected: the retry policy, apart from the attempt. (Surface first; implementation follows.) */
import type { AppError } from '../core/errors.ts'
import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { SessionHandlers } from '../core/tunnel/session.ts'
import type { ConnectedTunnel } from './tunnel-client.ts'

export type ConnectionState =
  | { readonly state: 'connecting'; readonly attempt: number }
  | { readonly state: 'connected'; readonly tunnel: ConnectedTunnel }
  /** Lost or never reached; the next try is in `retryIn` ms. */
  | { readonly state: 'waiting'; readonly error: AppError | undefined; readonly retryIn: number }
  | { readonly state: 'stopped'; readonly error: AppError | undefined }

export interface KeepConnectedOptions {
  /** One attempt. The hooks must be given to the tunnel as its onGoAway and onClose. */
  connect(
    signal: AbortSignal,
    hooks: Required<Pick<SessionHandlers, 'onGoAway' | 'onClose'>>,
  ): Promise<ConnectedTunnel>
  readonly clock: Clock
  readonly random: Random
  readonly signal: AbortSignal
  onState?: ((state: ConnectionState) => void) | undefined
  /** Stop for good on this error? Default: never (an agent must come back whatever happened). */
  isFatal?: ((error: AppError) => boolean) | undefined
}
/**
 * Resolves when the signal aborts or an error is fatal. After GOAWAY it dials again within the time asked while the old
 * tunnel's streams go on; the old tunnel is closed when its streams are done.
 */
export declare function keepConnected(options: KeepConnectedOptions): Promise<void>
