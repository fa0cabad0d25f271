/** The services this version can run, in one list. Enabling a kind that is not here does not get past the configuration. */
import type { ServiceKind } from '../../core/domain/service.ts'
import { createAppService, type AppServiceOptions } from './app/service.ts'
import type { AgentService, ServiceContext } from './service.ts'
import { createSshService } from './ssh/service.ts'

export type RunnableKind = Extract<ServiceKind, 'ssh' | 'app'>
export type ServiceOptions = AppServiceOptions

type Factory = (ctx: ServiceContext, options: ServiceOptions) => AgentService

export const SERVICES = {
  ssh: (ctx) => createSshService(ctx),
  app: createAppService,
} as const satisfies Record<RunnableKind, Factory>

export const isRunnable = (kind: ServiceKind): kind is RunnableKind => Object.hasOwn(SERVICES, kind)
