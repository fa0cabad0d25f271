/**
 * The file of `postern serve`: the same shape as the agent's, with a section for each part that is served alone. One file may
 * hold all three; each command reads its own section and what they share.
 */
import { hostname } from 'node:os'
import * as z from 'zod'
import { parseNetwork, type Network } from '../../core/certs/ip.ts'
import { parse } from '../../core/parse.ts'
import { resourceName } from '../../core/domain/name.ts'
import { duration } from '../../core/duration.ts'
import {
  joinOf,
  logOf,
  nodeNameOf,
  readYaml,
  wrong,
  type JoinConfig,
  type LogConfig,
} from '../../agent/config.ts'
import { readConfigFile } from '../../agent/config-file.ts'
import { absolutePath, identitySection, proxyServer } from '../../agent/config-schema.ts'
import { parseListen, type ListenAddress } from '../listen.ts'

const listenAddress = z.string().transform((text, ctx): ListenAddress => {
  try {
    return parseListen(text)
  } catch {
    ctx.addIssue({ code: 'custom', message: 'use host:port, as 127.0.0.1:3080' })
    return z.NEVER
  }
})
/** `host:port` as clients dial it: lower case, the port always there. */
const dialled = z.string().transform((text, ctx): string => {
  const match = /^([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::(\d{1,5}))?$/.exec(text.toLowerCase())
  const port = Number(match?.[2] ?? 443)
  if (match && port >= 1 && port <= 65_535) return `${match[1]}:${port}`
  ctx.addIssue({ code: 'custom', message: 'use host:port' })
  return z.NEVER
})
const dialledList = z
  .union([dialled.transform((one) => [one]), z.array(dialled).min(1).max(64)], {
    error: 'use host:port, or a list of them',
  })
  .optional()

const WORKERS_MAX = 64

/** `off`: a load balancer in front ends TLS. Absent: a certificate of the cluster's own CA. */
const tls = z
  .union(
    [
      z.literal(['off', false]).transform(() => 'off' as const),
      z.strictObject({ key_file: absolutePath, cert_file: absolutePath }),
    ],
    { error: 'use off, or key_file and cert_file' },
  )
  .optional()

/** Processes of a proxy. `auto`: as many as there are processors that may be used. */
const workers = z.union([z.literal('auto'), z.int().min(1).max(WORKERS_MAX)], {
  error: `use auto, or a number from 1 to ${WORKERS_MAX}`,
})
/** Load balancers in front, by address or network: what they say of the client's address counts. */
const trustedProxies = z
  .array(
    z.string().transform((text, ctx): Network => {
      const network = parseNetwork(text)
      if (network && network.bits > 0) return network
      ctx.addIssue({ code: 'custom', message: 'use an address or a network, as 10.0.0.0/8' })
      return z.NEVER
    }),
  )
  .max(64)
  .optional()

const file = z.strictObject({
  version: z.enum(['v1'], 'use version: v1'),
  postern: identitySection
    .omit({ proxy_server: true })
    .extend({ api_server: proxyServer.optional(), cluster_name: resourceName.optional() })
    .optional(),
  store: z
    .strictObject({
      table: z.string().min(3).max(255).optional(),
      endpoint: z.url({ protocol: /^https?$/ }).optional(),
      region: z.string().min(1).max(32).optional(),
      credentials_file: absolutePath.optional(),
    })
    .optional(),
  api_service: z
    .strictObject({
      listen_addr: listenAddress.optional(),
      public_addr: dialledList,
      proxies: dialledList,
      trusted_proxies: trustedProxies,
      tls,
    })
    .optional(),
  proxy_service: z
    .strictObject({
      listen_addr: listenAddress.optional(),
      public_addr: dialledList,
      peer_addr: dialled.optional(),
      drain_timeout: duration.optional(),
      workers: workers.optional(),
      trusted_proxies: trustedProxies,
      tls,
    })
    .optional(),
  store_service: z.strictObject({ listen_addr: listenAddress.optional() }).optional(),
})
type File = z.output<typeof file>

const SUGGESTIONS = {
  proxy_server: 'a proxy names the control plane: api_server',
  auth_server: 'use api_server',
  auth_service: 'use api_service',
  web_listen_addr: 'use listen_addr',
  tunnel_listen_addr: 'use listen_addr: there is one port',
  https_keypairs: 'use tls: { key_file, cert_file }',
  https_key_file: 'use tls: { key_file, cert_file }',
  https_cert_file: 'use tls: { key_file, cert_file }',
} as const

export type TlsConfig = 'off' | { readonly keyFile: string; readonly certFile: string } | undefined

export interface ServeConfig {
  readonly dataDir: string
  readonly log: LogConfig
  /** Where metrics and health are shown; undefined: nowhere. */
  readonly diag: ListenAddress | undefined
  /** For the very first start of a control plane. */
  readonly clusterName: string | undefined
  /** Where the table is; all undefined: as the AWS SDK finds it. */
  readonly store: {
    readonly table: string
    readonly endpoint: string | undefined
    readonly region: string | undefined
    readonly credentialsFile: string | undefined
  }
  readonly api: {
    readonly listen: ListenAddress
    readonly publicAddresses: readonly string[]
    /** Undefined: those that have a lease. */
    readonly proxies: readonly string[] | undefined
    readonly trustedProxies: readonly Network[]
    readonly tls: TlsConfig
  }
  readonly proxy: {
    readonly listen: ListenAddress
    readonly publicAddresses: readonly string[]
    readonly peerAddress: string | undefined
    /** Milliseconds. */
    readonly drainTimeout: number
    readonly workers: 'auto' | number
    readonly trustedProxies: readonly Network[]
    readonly tls: TlsConfig
  }
  readonly storeListen: ListenAddress
  /** How a proxy joins; throws ERR_CONFIG_INVALID when that is not in the file. */
  identity(): {
    readonly nodeName: string
    readonly apiServer: string
    readonly caPins: readonly string[]
    readonly join: JoinConfig
  }
}

/** Long enough for most transfers to move to another proxy, short enough for a supervisor's patience. */
const DRAIN_DEFAULT = 60_000

const tlsOf = (given: z.output<typeof tls>): TlsConfig =>
  given === undefined || given === 'off'
    ? given
    : { keyFile: given.key_file, certFile: given.cert_file }

export function parseServeConfig(
  text: string,
  defaults: { readonly dataDir: string },
): ServeConfig {
  const value: File = parse(file, readYaml(text), {
    code: 'ERR_CONFIG_INVALID',
    suggest: SUGGESTIONS,
  })
  const { postern: main, store, api_service: api, proxy_service: proxy } = value
  return {
    dataDir: main?.data_dir ?? defaults.dataDir,
    log: logOf(main?.log),
    diag: main?.diag_addr,
    clusterName: main?.cluster_name,
    store: {
      table: store?.table ?? 'postern',
      endpoint: store?.endpoint,
      region: store?.region,
      credentialsFile: store?.credentials_file,
    },
    api: {
      listen: api?.listen_addr ?? { host: '127.0.0.1', port: 3025 },
      publicAddresses: api?.public_addr ?? [],
      proxies: api?.proxies,
      trustedProxies: api?.trusted_proxies ?? [],
      tls: tlsOf(api?.tls),
    },
    proxy: {
      listen: proxy?.listen_addr ?? { host: '127.0.0.1', port: 3080 },
      publicAddresses: proxy?.public_addr ?? [],
      peerAddress: proxy?.peer_addr,
      drainTimeout: proxy?.drain_timeout ?? DRAIN_DEFAULT,
      workers: proxy?.workers ?? 'auto',
      trustedProxies: proxy?.trusted_proxies ?? [],
      tls: tlsOf(proxy?.tls),
    },
    storeListen: value.store_service?.listen_addr ?? { host: '127.0.0.1', port: 8000 },
    identity() {
      if (main?.api_server === undefined)
        throw wrong('postern.api_server', 'name the control plane, as host:port')
      return {
        nodeName: nodeNameOf(main.nodename, hostname(), 'postern'),
        apiServer: main.api_server,
        caPins: main.ca_pin ?? [],
        join: joinOf(main, 'postern'),
      }
    },
  }
}

/** As the option of the command says it. */
export const parseWorkers = (text: string): 'auto' | number =>
  parse(
    z.object({ '--workers': workers }),
    { '--workers': text === 'auto' ? text : Number(text) },
    {
      code: 'ERR_USAGE',
    },
  )['--workers']

/** `path` undefined: everything as by default. */
export async function loadServeConfig(
  path: string | undefined,
  defaults: { readonly dataDir: string },
): Promise<ServeConfig> {
  const text = path === undefined ? 'version: v1' : await readConfigFile(path)
  return parseServeConfig(text, defaults)
}
