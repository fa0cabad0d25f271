/** The state of one service of the agent, as `postern up` and `agent status` show it. */
import type { AppError } from '../core/errors.ts'
import type { ServiceKind } from '../core/domain/service.ts'

/**
 * joining: no identity yet, or none in force · connecting: identity held, no tunnel yet or no more · online: tunnel up and
 * policy known, streams are served · failed: refused for good, the others run on; `error` says why · stopped.
 */
export type ServiceState =
  | { readonly state: 'joining'; readonly error: AppError | undefined }
  | { readonly state: 'connecting'; readonly error: AppError | undefined }
  | { readonly state: 'online'; readonly proxies: readonly string[] }
  | { readonly state: 'failed'; readonly error: AppError }
  | { readonly state: 'stopped' }

export type StateListener = (kind: ServiceKind, state: ServiceState) => void

export const isSettled = (state: ServiceState): boolean =>
  state.state === 'online' || state.state === 'failed' || state.state === 'stopped'
