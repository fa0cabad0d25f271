/**
 * Calls to the control plane for a command: with the token of the environment, else as the operator where the profile holds an
 * operator's key, else as its user.
 */
import { createPrivateKey } from 'node:crypto'
import type * as z from 'zod'
import { keySigner } from '../core/certs/signer.ts'
import { readCertificate } from '../core/certs/x509-read.ts'
import { iso } from '../core/clock.ts'
import { AppError } from '../core/errors.ts'
import { pageOf } from '../core/api/documents.ts'
import { LIMITS } from '../core/limits.ts'
import { parse } from '../core/parse.ts'
import { apiClient, type ApiClient, type HttpMethod } from '../net/http-client.ts'
import { fetchPinnedCa, systemTrust } from '../net/trust.ts'
import type { Cli } from './cli.ts'
import { discover, originOf } from './connect/discover.ts'
import type { StoredProfile } from './connect/profile.ts'
import { trustOf } from './connect/trust.ts'
import { words, type ProfileOptions } from './host.ts'
import { openProfile } from './profiles.ts'

export interface Client {
  /** undefined where the environment alone says whom to call and with what. */
  readonly profile: StoredProfile | undefined
  readonly target: Target
  readonly api: ApiClient
  /** The answer, checked against what this version understands. */
  get<S extends z.ZodType>(schema: S, path: string): Promise<z.output<S>>
  send<S extends z.ZodType>(
    schema: S,
    method: HttpMethod,
    path: string,
    body: unknown,
  ): Promise<z.output<S>>
  /** Follows the cursors of a list until its end, or until `max` items. */
  list<S extends z.ZodType>(
    schema: S,
    path: string,
    query?: Readonly<Record<string, string | undefined>>,
    max?: number,
  ): Promise<z.output<S>[]>
}

/** Whom a command talks to. */
export interface Target {
  readonly cluster: string
  /** Origin of the API. */
  readonly api: string
  /** `host:port`. */
  readonly proxies: readonly string[]
}

/** By POSTERN_ADDRESS and POSTERN_TOKEN, as a job of a CI system has them: no profile, nothing on disk. */
async function fromEnvironment(
  cli: Cli,
  address: string,
  bearer: string,
): Promise<{ target: Target; api: ApiClient }> {
  const origin = originOf(address, 'POSTERN_ADDRESS')
  const pins = words(cli.env.caPin ?? '')
  const proxy = cli.env.httpsProxy
  const trust =
    pins.length === 0
      ? systemTrust
      : { system: false, ca: (await fetchPinnedCa({ url: origin, pins, proxy })).ca }
  const common = { trust, ...callsOf(cli) }
  const anonymous = apiClient({ ...common, baseUrl: origin })
  try {
    const { cluster, api, proxies } = await discover(anonymous, pins)
    return {
      target: { cluster, api, proxies },
      api: apiClient({ ...common, baseUrl: api, bearer }),
    }
  } finally {
    anonymous.close()
  }
}

async function connect(
  cli: Cli,
  options: ProfileOptions,
): Promise<Pick<Client, 'profile' | 'target' | 'api'>> {
  const { token, address } = cli.env
  const asked = options.profile ?? options.dataDir
  if (token !== undefined && address !== undefined && asked === undefined)
    return { profile: undefined, ...(await fromEnvironment(cli, address, token)) }
  const profile = await openProfile(cli, options)
  const caller = token === undefined ? profile : { ...profile, operatorKey: token }
  return { profile, target: profile, api: clientOf(cli, caller) }
}

export function requireCurrent(cli: Cli, profile: StoredProfile): void {
  if (cli.clock.now() >= profile.expires)
    throw new AppError(
      'ERR_UNAUTHENTICATED',
      `the certificate of ${profile.user} expired at ${iso(profile.expires)}`,
    )
}

/** What every call of a command has: it waits for a control plane that is asked too much, and goes through the machine's proxy. */
export const callsOf = ({ clock, random, env }: Cli) => ({
  clock,
  random,
  proxy: env.httpsProxy,
  patience: LIMITS.callPatience.value,
})

export function clientOf(cli: Cli, profile: StoredProfile): ApiClient {
  const common = {
    baseUrl: profile.api,
    trust: trustOf(profile),
    ...callsOf(cli),
  }
  if (profile.operatorKey !== undefined)
    return apiClient({ ...common, bearer: profile.operatorKey })
  requireCurrent(cli, profile)
  const identity = {
    certificate: readCertificate(profile.certificatePem),
    signer: keySigner(createPrivateKey(profile.keyPem)),
  }
  return apiClient({ ...common, cluster: profile.cluster, identity: () => identity })
}

/** Opens the profile, runs `work`, and lets go of the connection whatever happened. */
export async function withClient<T>(
  cli: Cli,
  options: ProfileOptions,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const connected = await connect(cli, options)
  try {
    return await withApi(connected, work)
  } catch (e) {
    // A rotation of the CAs may have passed this profile by.
    const { followCas, mayBeOutdated } = await import('./connect/follow-cas.ts')
    const { profile } = connected
    if (!profile || !mayBeOutdated(e)) throw e
    const next = await followCas(profile, cli.clock.now(), cli.env.httpsProxy)
    if (next === profile) throw e
    return withApi(await connect(cli, options), work)
  }
}

async function withApi<T>(
  { profile, target, api }: Awaited<ReturnType<typeof connect>>,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const from = { code: 'ERR_INTERNAL' } as const
  const client: Client = {
    profile,
    target,
    api,
    get: async (schema, path) => parse(schema, await api.request('GET', path), from),
    send: async (schema, method, path, body) =>
      parse(schema, await api.request(method, path, body), from),
    async list(schema, path, query = {}, max = Infinity) {
      const items: z.output<typeof schema>[] = []
      let cursor: string | undefined
      do {
        const params = new URLSearchParams()
        for (const [key, value] of Object.entries({ ...query, cursor }))
          if (value !== undefined) params.set(key, value)
        const text = params.toString()
        const answer = await api.request('GET', text === '' ? path : `${path}?${text}`)
        const page = parse(pageOf(schema), answer, from)
        items.push(...page.items)
        cursor = page.cursor
      } while (cursor !== undefined && items.length < max)
      return items.slice(0, max)
    },
  }
  try {
    return await work(client)
  } finally {
    api.close()
  }
}
