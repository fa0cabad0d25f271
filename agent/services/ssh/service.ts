/**
 * The ssh service: an SSH server in the agent. Stock OpenSSH clients speak to it end to end through the tunnel; the user's
 * certificate decides who they are, `decide()` what they may do, and sessions run as the unix user they asked for.
 * (Surface first; implementation follows.)
 */
import type { AgentService, ServiceContext } from '../service.ts'

export interface SshServiceOptions {
  /**
   * Software version in our SSH identification. OpenSSH tells a server that its output is not read any more only when the
   * name starts with `OpenSSH`. Default `OpenSSH_9.9-Postern`.
   */
  readonly ident?: string
  /** Environment variables a client may set, besides LANG and LC_*. Exact names. Default none. */
  readonly acceptEnv?: readonly string[]
  /** PATH of sessions of ordinary users, and of root. Default the usual directories. */
  readonly path?: string
  readonly rootPath?: string
  /** Idle workers kept ready, so that a login does not wait for one. Default 1. */
  readonly spareWorkers?: number
  /** Where the two entry files are. Default: beside this module, bundled or as sources. */
  readonly entries?: { readonly worker: string; readonly helper: string }
  /** Path of sftp-server. Default: the first of the paths that distributions use. */
  readonly sftpServer?: string
}

export declare function createSshService(
  ctx: ServiceContext,
  options?: SshServiceOptions,
): AgentService
