/** The cluster itself: control plane and proxy behind one HTTPS listener, with certificates that are renewed while it runs. */
import type { Log } from '../../core/log.ts'
import { reasonOf } from '../../core/errors.ts'
import { createMetrics, type Metrics } from '../../core/metrics/metrics.ts'
import type { Health } from '../../net/diagnostics.ts'
import { createLocalControlPlane, type LocalControlPlaneOptions } from '../../functions/wiring.ts'
import type { Cli } from '../cli.ts'
import { address, type ListenAddress } from '../listen.ts'
import { apiClient } from '../../net/http-client.ts'
import type { OwnersCluster } from './first-user.ts'
import { openListener } from './listener.ts'
import { countRequests } from './request-metrics.ts'
import { namesFor } from './names.ts'
import { localProxyIdentity } from './proxy-identity.ts'
import { startProxy } from './start-proxy.ts'
import type { Closer } from './stopping.ts'
import { serverTls } from './tls.ts'

export interface Cluster extends OwnersCluster {
  /** `host:port`, as this machine and, where it listens for them, others dial it. */
  readonly address: string
  /** The proxy takes tunnels and knows the policy. */
  ready(): Health
  /** Looks whether names changed or a certificate is past half of its life. */
  renew(): Promise<void>
}

export interface ClusterDeps {
  readonly cli: Pick<Cli, 'clock' | 'random'>
  readonly dataDir: string
  readonly listen: ListenAddress
  /** `host:port` where agents and users find the proxy when something stands in front of it. Default: where it listens. */
  readonly publicAddress?: ((own: string) => string) | undefined
  readonly log: Log
  /** Default: nobody reads them. */
  readonly metrics?: Metrics | undefined
  readonly stopping: Closer
  /** Default: no archives are served. */
  readonly downloads?: LocalControlPlaneOptions['downloads'] | undefined
  /** For tests. */
  readonly aws?: LocalControlPlaneOptions['aws'] | undefined
  readonly azure?: LocalControlPlaneOptions['azure'] | undefined
  readonly kubernetes?: LocalControlPlaneOptions['kubernetes'] | undefined
  /** Default: as the control plane has it. */
  readonly issuers?: LocalControlPlaneOptions['issuers'] | undefined
}

export async function startCluster(deps: ClusterDeps): Promise<Cluster> {
  const { dataDir, listen, log, stopping } = deps
  const { clock, random } = deps.cli
  // Port 0 is known once the listener is there; nobody asks for an address before.
  let port = listen.port
  let names = namesFor(listen.host)
  const main = () => address(names.main, port)
  const front = () => deps.publicAddress?.(main()) ?? main()
  const all = () => [
    ...new Set([...[names.main, ...names.ips, ...names.dns].map((n) => address(n, port)), front()]),
  ]

  const plane = await createLocalControlPlane({
    dataDir,
    publicOrigins: () => all().map((at) => `https://${at}`),
    proxies: () => [front()],
    downloads: deps.downloads,
    clock,
    random,
    log,
    ...(deps.aws ? { aws: deps.aws } : {}),
    ...(deps.azure ? { azure: deps.azure } : {}),
    ...(deps.kubernetes ? { kubernetes: deps.kubernetes } : {}),
    ...(deps.issuers ? { issuers: deps.issuers } : {}),
  })
  stopping.push(() => plane.close())
  const tls = await serverTls(plane, clock, names)
  const identity = await localProxyIdentity({ plane, dataDir, clock, random })
  const { metrics = createMetrics() } = deps
  const proxy = startProxy({ cli: deps.cli, plane, identity, addresses: all, log, metrics })
  const listener = await openListener(listen, tls.material, {
    fetch: countRequests(metrics, clock, (request, peer) => plane.fetch(request, peer)),
    handleRequest: (request, response) => proxy.handleRequest(request, response),
    handleUpgrade: (request, socket, head) => proxy.handleUpgrade(request, socket, head),
  })
  stopping.push(() => listener.close())
  stopping.push(() => proxy.stop())
  port = listener.port
  await proxy.start(`https://${main()}`)
  async function renew(): Promise<void> {
    names = namesFor(listen.host)
    const next = await tls.renew(names)
    if (next) listener.setTls(next)
    await identity.renew()
  }
  stopping.push(
    plane.onCaChange(() => {
      renew().catch((e: unknown) => log.error('up.renewal_failed', { reason: reasonOf(e) }))
    }),
  )
  return {
    plane,
    address: main(),
    proxies: () => [main()],
    client: (bearer) =>
      apiClient({
        baseUrl: `https://${main()}`,
        trust: () => ({ system: false, ca: plane.caBundle.host.x509 }),
        bearer,
        clock,
        random,
      }),
    origin: `https://${main()}`,
    ready: () => proxy.ready(),
    renew,
  }
}
