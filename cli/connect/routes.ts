/**
 * Routes of this profile: asked for with a signed request, checked against the policy keys, kept in memory and on disk until
 * shortly before they expire. A cache file that is broken, foreign or expired is as good as none.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { checkRoute, type CheckedRoute } from '../../core/api/route-check.ts'
import { routeAnswer } from '../../core/api/route.ts'
import { fromSeconds, plus, type Instant } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import { parse } from '../../core/parse.ts'
import type { ApiClient } from '../../net/http-client.ts'
import { readText, replaceFile } from './profile-files.ts'
import { ROUTES, type StoredProfile } from './profile.ts'
import type { ResourceName } from './session.ts'

export interface FoundRoute {
  readonly jws: string
  readonly claims: CheckedRoute
  readonly protocol: 'tcp' | 'http' | undefined
  /** It was kept from before, so what it says may have changed. */
  readonly kept: boolean
}

export interface Routes {
  find(resource: ResourceName, signal?: AbortSignal): Promise<FoundRoute>
  /** A kept route led nowhere: the next `find` asks again. */
  forget(resource: ResourceName): Promise<void>
}

/** A route that ends within this time is not used any more, ms: the stream must be open before. */
const MARGIN = 20_000

export interface RoutesDeps {
  profile(): StoredProfile
  readonly api: Pick<ApiClient, 'request'>
  now(): Instant
  /** Takes up other CAs and policy keys; the profile is another one then. */
  follow(): Promise<unknown>
}

export function createRoutes(deps: RoutesDeps): Routes {
  const memory = new Map<string, FoundRoute>()
  const fileOf = ({ kind, name }: ResourceName): string => `${kind}-${name}.json`
  const directory = (): string => join(deps.profile().dir, ROUTES)
  const keys = (): KeyObject[] =>
    deps.profile().policyKeys.map((jwk) => createPublicKey({ key: { ...jwk }, format: 'jwk' }))

  async function check(
    resource: ResourceName,
    answer: unknown,
    kept: boolean,
  ): Promise<FoundRoute> {
    const { route: jws, protocol } = parse(routeAnswer, answer, { code: 'ERR_ROUTE_INVALID' })
    const { cluster } = deps.profile()
    const claims = await checkRoute(jws, { cluster, keys: keys(), now: deps.now() })
    if (claims.resource.kind !== resource.kind || claims.resource.name !== resource.name)
      throw new AppError('ERR_ROUTE_INVALID', undefined, { internal: 'route: another resource' })
    return { jws, claims, protocol, kept }
  }

  const good = (route: FoundRoute): boolean =>
    plus(deps.now(), MARGIN) < fromSeconds(route.claims.exp)

  async function fromDisk(resource: ResourceName): Promise<FoundRoute | undefined> {
    try {
      const text = await readText(join(directory(), fileOf(resource)))
      return text === undefined ? undefined : await check(resource, JSON.parse(text), true)
    } catch {
      return undefined
    }
  }

  async function ask(resource: ResourceName, signal?: AbortSignal): Promise<FoundRoute> {
    const { kind, name } = resource
    const answer = await deps.api.request('POST', '/v1/routes', { kind, name }, { signal })
    // The route may be signed by the next policy key, and lead to a certificate of the next CA.
    const version = routeAnswer.safeParse(answer).data?.ca_version ?? 0
    if (version > deps.profile().caVersion) await deps.follow()
    const found = await check(resource, answer, false)
    memory.set(fileOf(resource), { ...found, kept: true })
    // A disk that is full or read-only makes the next start slower, no more.
    await keepOnDisk(resource, answer).catch(() => undefined)
    return found
  }

  async function keepOnDisk(resource: ResourceName, answer: unknown): Promise<void> {
    await mkdir(directory(), { recursive: true, mode: 0o700 })
    await replaceFile(directory(), fileOf(resource), JSON.stringify(answer))
  }

  return {
    async find(resource, signal) {
      const known = memory.get(fileOf(resource)) ?? (await fromDisk(resource))
      if (!known || !good(known)) return ask(resource, signal)
      memory.set(fileOf(resource), known)
      return known
    },
    async forget(resource) {
      memory.delete(fileOf(resource))
      await rm(join(directory(), fileOf(resource)), { force: true })
    },
  }
}
