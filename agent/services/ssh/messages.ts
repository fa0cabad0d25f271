/**
 * What the agent's main thread and the worker of one SSH connection say to each other. The worker speaks SSH and proves who
 * the user is; the main thread decides, and writes the audit log before it answers. Bytes travel on a port of their own.
 */
import type { MessagePort } from 'node:worker_threads'
import type { Grant } from '../../../core/access/decide.ts'
import type { AgentEventType, EventField } from '../../../core/domain/event.ts'
import type { UserIdentity } from '../service.ts'
import type { Entry } from './entry.ts'

/** Everything a worker needs to serve one connection. */
export interface Start {
  readonly bytes: MessagePort
  readonly ident: string
  /** In OpenSSH's format. */
  readonly hostKey: string
  readonly hostCertificate: Uint8Array
  readonly userCas: readonly Uint8Array[]
  readonly cluster: string
  /** The user whose stream it is; nobody else may authenticate on it. */
  readonly user: string
  readonly helper: Entry
  /** Our end and the helper's of the socket that descriptors are passed on. The main thread closes them. */
  readonly helperSockets: readonly [number, number]
  readonly sftpServer: string | undefined
  readonly environment: Environment
}

export interface Environment {
  readonly acceptEnv: readonly string[]
  readonly path: string
  readonly rootPath: string
  /** For SSH_CLIENT and SSH_CONNECTION. As the proxy says, not proven. */
  readonly source: { readonly host: string; readonly port: number }
}

/** What a session wants to do. */
export type Ask =
  | {
      readonly op: 'login'
      readonly login: string
      readonly identity: UserIdentity
      /** Serial and key of the certificate, for the audit log. */
      readonly certificate: string
    }
  /** The account and its helper are ready: the session is about to begin. */
  | { readonly op: 'begin' }
  /** One more session channel, the `open`th. */
  | { readonly op: 'session'; readonly open: number }
  | { readonly op: 'shell'; readonly terminal: boolean }
  | { readonly op: 'exec'; readonly command: string; readonly terminal: boolean }
  | { readonly op: 'subsystem'; readonly name: string }
  | { readonly op: 'forward'; readonly direction: 'local' | 'remote'; readonly target: string }
  | { readonly op: 'agent' }

export type Answer =
  | { readonly allow: true; readonly grant: Grant }
  /** `line` is for the user. */
  | { readonly allow: false; readonly line: string }

export type ToWorker =
  | { readonly kind: 'start'; readonly start: Start }
  | { readonly kind: 'answer'; readonly id: number; readonly answer: Answer }
  /** What is allowed has changed while the session goes on. */
  | { readonly kind: 'grant'; readonly grant: Grant }
  /** End now, telling the user why. */
  | { readonly kind: 'cut'; readonly line: string }
  | { readonly kind: 'ping' }
  /** Nobody needs it any more: it ends its thread. */
  | { readonly kind: 'leave' }

export type ToMain =
  | { readonly kind: 'ready' }
  | { readonly kind: 'ask'; readonly id: number; readonly ask: Ask }
  /** For the audit log; nothing waits for it. */
  | {
      readonly kind: 'report'
      readonly type: AgentEventType
      readonly outcome: 'ok' | 'refused' | 'failed'
      readonly reason?: string
      readonly fields: Readonly<Record<string, EventField>>
    }
  | { readonly kind: 'log'; readonly event: string; readonly fields: Record<string, unknown> }
  /** The helper's process id: whoever outlives the worker reaps it. */
  | { readonly kind: 'helper'; readonly pid: number }
  | { readonly kind: 'pong' }
  | { readonly kind: 'end'; readonly exitCode: number | undefined }
