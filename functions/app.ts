/** The whole control plane as one Hono app. Each Lambda mounts one of these verb apps alone (`<verb>.lambda.ts`). */
import type { Hono } from 'hono'
import type { Env } from './http.ts'
import type { AppDeps } from './deps.ts'

export declare function createApp(deps: AppDeps): Hono<Env>
