/** The proxy in the same process: it asks the control plane over HTTPS with its own identity, as it would from anywhere. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { invariant } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics/metrics.ts'
import { apiClient, type ApiClient } from '../../net/http-client.ts'
import type { Health } from '../../net/diagnostics.ts'
import { apiPolicySource, type PolicySource } from '../../proxy/policy-source.ts'
import { createProxy } from '../../proxy/proxy.ts'
import type { LocalControlPlane } from '../../functions/wiring.ts'
import type { Cli } from '../cli.ts'
import type { LocalProxyIdentity } from './proxy-identity.ts'

/** Long enough to tell every peer, short enough for somebody who pressed Ctrl-C. */
const DRAIN_MS = 500

export interface LocalProxy {
  handleRequest(request: IncomingMessage, response: ServerResponse): boolean
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  ready(): Health
  /** Once the listener is there: the proxy's own requests go through it. */
  start(origin: string): Promise<void>
  stop(): Promise<void>
}

export function startProxy(deps: {
  readonly cli: Pick<Cli, 'clock' | 'random'>
  readonly plane: LocalControlPlane
  readonly identity: LocalProxyIdentity
  readonly addresses: () => readonly string[]
  readonly log: Log
  readonly metrics: Metrics
}): LocalProxy {
  const { plane, identity } = deps
  const { clock, random } = deps.cli
  let api: ApiClient | undefined
  let source: PolicySource | undefined
  const asked = (): PolicySource => {
    invariant(source, 'the proxy was started')
    return source
  }
  const certificates = (pems: readonly string[]) => pems.map((pem) => readCertificate(pem))
  const proxy = createProxy({
    cluster: plane.cluster,
    identity: () => identity.current(),
    hostCas: () => certificates(plane.caBundle.host.x509),
    userCas: () => certificates(plane.caBundle.user.x509),
    policyKeys: () =>
      plane.caBundle.policy.map((jwk): KeyObject =>
        createPublicKey({ key: { ...jwk }, format: 'jwk' }),
      ),
    presence: plane.stores.presence,
    publicAddresses: deps.addresses,
    policy: {
      policy: (signal) => asked().policy(signal),
      freshness: (signal) => asked().freshness(signal),
    },
    clock,
    random,
    log: deps.log,
    metrics: deps.metrics,
  })
  return {
    ready: () => proxy.ready(),
    handleRequest: (request, response) => proxy.handleRequest(request, response),
    handleUpgrade: (request, socket, head) => proxy.handleUpgrade(request, socket, head),
    async start(origin) {
      api = apiClient({
        baseUrl: origin,
        trust: () => ({ system: false, ca: plane.caBundle.host.x509 }),
        cluster: plane.cluster,
        identity: () => identity.current(),
        clock,
        random,
      })
      source = apiPolicySource(api)
      await proxy.start()
    },
    async stop() {
      if (api) await proxy.drain(DRAIN_MS)
      await proxy.close()
      api?.close()
    },
  }
}
