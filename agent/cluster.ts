/**
 * Finding the cluster behind `proxy_server`: the pinned CA first, then the discovery document over TLS that is verified. The
 * answer is kept in the data directory, so that an agent that has joined starts while the control plane is away.
 *
 * With `ca_pin`, TLS believes the pinned CA, and the machine's roots as well: load balancers and managed API endpoints show public
 * certificates. What only the cluster may have or answer is sealed to the pinned CA besides (join/proven-call.ts), policies are signed,
 * proxies prove themselves in their handshake. Without `ca_pin`, TLS believes the machine's roots and nothing else.
 *
 * CAs that the policy key signed are believed like pinned ones, and a pin of a CA that it calls retired is none any more: a
 * rotation needs no change of any configuration.
 */
import { join } from 'node:path'
import * as z from 'zod'
import { caPin } from '../core/certs/signer.ts'
import { readCertificate } from '../core/certs/x509-read.ts'
import { discovery } from '../core/domain/cluster.ts'
import { AppError, isAppError, reasonOf, toAppError } from '../core/errors.ts'
import { parse } from '../core/parse.ts'
import type { Random } from '../core/random.ts'
import type { Clock } from '../core/clock.ts'
import { apiClient } from '../net/http-client.ts'
import type { Log } from '../core/log.ts'
import { fetchOfferedCas, pinMismatch, type Trust } from '../net/trust.ts'
import { readPrivate, writeAtomic } from './identity/files.ts'
import type { PolicyKeeper } from './policy/keeper.ts'
import type { ForwardProxy } from '../net/forward-proxy.ts'

export interface ClusterInfo {
  readonly cluster: string
  /** Origin of the API. */
  readonly api: string
  /** `host:port` of the proxies. */
  readonly proxies: readonly string[]
  /** Whom to believe at the API. */
  readonly trust: Trust
  /** The pinned CAs and those learnt since, PEM; empty without pins. Both follow a rotation by themselves. */
  readonly pinnedCas: readonly string[]
}

export interface ClusterFinder {
  /** What is known, from disk or from the network. Rejects with the AppError of the attempt. */
  find(signal: AbortSignal): Promise<ClusterInfo>
  /** Asks the network and keeps the answer. */
  refresh(signal: AbortSignal): Promise<ClusterInfo>
}

export interface ClusterFinderOptions {
  readonly dataDir: string
  readonly proxyServer: string
  readonly caPins: readonly string[]
  readonly clock: Clock
  readonly random: Random
  readonly httpsProxy: ForwardProxy | undefined
  readonly learnt: Pick<PolicyKeeper, 'cas' | 'takeCas'>
  readonly log: Log
}

const cached = z.object({
  v: z.literal(1),
  proxy_server: z.string(),
  cluster: z.string(),
  api: z.string(),
  proxies: z.array(z.string()),
  ca: z.array(z.string()),
})
const CACHE_MAX = 256 * 1024

const UNTRUSTED: readonly string[] = [
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]

/** Says what to do when TLS was refused because nobody vouches for the certificate. */
function explain(e: unknown, options: ClusterFinderOptions): AppError {
  const error = toAppError(e)
  let cause: unknown = error
  for (let depth = 0; depth < 5 && cause instanceof Error; depth++) {
    const code = (cause as NodeJS.ErrnoException).code
    if (!isAppError(cause) && code !== undefined && UNTRUSTED.includes(code)) {
      const hint =
        options.caPins.length === 0
          ? 'this machine does not trust its certificate: set ca_pin as postern tokens add printed it'
          : 'neither the pinned CA nor this machine vouches for its certificate: compare ca_pin and proxy_server'
      return new AppError('ERR_UNREACHABLE', `${options.proxyServer}: ${hint}`, { cause: error })
    }
    cause = cause.cause
  }
  return error
}

export function createClusterFinder(options: ClusterFinderOptions): ClusterFinder {
  const { dataDir, proxyServer, caPins, clock, random, httpsProxy, learnt } = options
  const path = join(dataDir, 'cluster.json')
  let known: ClusterInfo | undefined

  /** What the configuration pins, without what a rotation retired, and what was learnt. */
  function roots(pinned: readonly string[]): readonly string[] {
    if (caPins.length === 0) return []
    const { x509 = [], retired = [] } = learnt.cas ?? {}
    const good = pinned.filter((pem) => !retired.includes(caPin(readCertificate(pem).publicKey)))
    return [...new Set([...x509, ...good])]
  }

  function infoOf(found: z.output<typeof cached>): ClusterInfo {
    return {
      cluster: found.cluster,
      api: found.api,
      proxies: found.proxies,
      get pinnedCas() {
        return roots(found.ca)
      },
      get trust() {
        return { system: true, ca: roots(found.ca) }
      },
    }
  }

  async function fromDisk(): Promise<ClusterInfo | undefined> {
    const text = await readPrivate(path, CACHE_MAX)
    if (text === undefined) return undefined
    try {
      const found = cached.parse(JSON.parse(text))
      // Another address or other pins in the configuration make the cache worthless.
      if (found.proxy_server !== proxyServer) return undefined
      const pinned = found.ca.every((pem) => caPins.includes(caPin(readCertificate(pem).publicKey)))
      const whole = caPins.length === 0 ? found.ca.length === 0 : roots(found.ca).length > 0
      return pinned && whole ? infoOf(found) : undefined
    } catch {
      return undefined
    }
  }

  /** The CAs that match a pin. What the policy key signed besides is learnt on the way, whoever is in between. */
  async function offeredCas(signal: AbortSignal): Promise<readonly string[]> {
    const { ca, signed, status } = await fetchOfferedCas({
      url: proxyServer,
      pins: caPins,
      signal,
      proxy: httpsProxy,
    })
    // Before the first join no policy key is known, and nothing can be learnt.
    if (signed)
      await learnt.takeCas(signed).catch((e: unknown) => {
        options.log.info('ca.not_learnt', { reason: reasonOf(e) })
      })
    if (caPins.length === 0 || roots(ca).length > 0) return ca
    throw pinMismatch(`no CA of ${proxyServer} matches; status ${status}`)
  }

  async function fromNetwork(signal: AbortSignal): Promise<ClusterInfo> {
    try {
      const ca = await offeredCas(signal)
      const client = apiClient({
        baseUrl: proxyServer,
        // The document is public, and may be a proxy's to give.
        trust: { system: true, ca: roots(ca), anyProxy: true },
        clock,
        random,
        proxy: httpsProxy,
      })
      try {
        const answer = await client.request('GET', '/.well-known/postern', undefined, { signal })
        const { cluster, api, proxies } = parse(discovery, answer, { code: 'ERR_UNREACHABLE' })
        const found = {
          v: 1 as const,
          proxy_server: proxyServer,
          cluster,
          api,
          proxies,
          ca: [...ca],
        }
        await writeAtomic(path, JSON.stringify(found), random)
        return infoOf(found)
      } finally {
        client.close()
      }
    } catch (e) {
      if (signal.aborted) throw e
      throw explain(e, options)
    }
  }

  return {
    async find(signal) {
      known ??= (await fromDisk()) ?? (await fromNetwork(signal))
      return known
    },
    async refresh(signal) {
      known = await fromNetwork(signal)
      return known
    },
  }
}
