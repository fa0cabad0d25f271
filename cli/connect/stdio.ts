/**
 * `postern proxy ssh %h:%p`: stdin and stdout of this process joined to a stream, for OpenSSH's ProxyCommand. Imported on every
 * ssh, so it imports little. (Surface first; implementation follows.)
 */
import type { Readable, Writable } from 'node:stream'
import type { ResourceName } from './session.ts'

export interface StdioOptions {
  readonly profileDir: string
  /** `web-1:22`, `web-1.<cluster>:22`, `web-1`: what %h:%p gave. The port is not looked at. */
  readonly target: string
  readonly kind?: ResourceName['kind'] | undefined
  readonly httpsProxy?: string | undefined
  /** For tests; the default is this process's own. */
  readonly stdin?: Readable | undefined
  readonly stdout?: Writable | undefined
}
/** Resolves when both directions are done. Rejects with the AppError to be shown; its kind has the exit code. */
export declare function runStdio(options: StdioOptions): Promise<void>
