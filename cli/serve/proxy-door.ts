/** The proxy and its public listener, as one process has them: the only one, or one of several workers. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { HeldIdentity } from '../../agent/identity/store.ts'
import { caPin } from '../../core/certs/signer.ts'
import { readCertificate, type Certificate } from '../../core/certs/x509-read.ts'
import type { Clock } from '../../core/clock.ts'
import type { CaBundle, Policy } from '../../core/domain/policy.ts'
import type { PresenceStore } from '../../core/domain/presence.ts'
import type { Log } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics/metrics.ts'
import type { Random } from '../../core/random.ts'
import type { PolicySource } from '../../proxy/policy-source.ts'
import { createProxy, type Proxy, type ProxyDeps } from '../../proxy/proxy.ts'
import { address } from '../listen.ts'
import { openListener, type TlsMaterial } from '../up/listener.ts'
import { namesFor } from '../up/names.ts'
import type { ServeConfig } from './config.ts'
import { ownTls } from './tls.ts'

const identityTls = ({ stored }: HeldIdentity): TlsMaterial => ({
  key: stored.key,
  chain: [stored.credentials.x509, ...stored.credentials.host_ca.x509].join(''),
})

const bundleOf = ({ stored }: HeldIdentity): CaBundle => ({
  host: stored.credentials.host_ca,
  user: stored.credentials.user_ca,
  policy: stored.credentials.policy_keys as unknown as CaBundle['policy'],
})

/** What the credentials brought, parsed once for each of them. */
function trustOf(current: () => HeldIdentity) {
  let of: HeldIdentity | undefined
  let parsed: { host: Certificate[]; user: Certificate[]; keys: KeyObject[] } | undefined
  return () => {
    const held = current()
    if (parsed && of === held) return parsed
    const { host, user, policy } = bundleOf(held)
    of = held
    parsed = {
      host: host.x509.map((pem) => readCertificate(pem)),
      user: user.x509.map((pem) => readCertificate(pem)),
      keys: policy.map((jwk) => createPublicKey({ key: { ...jwk }, format: 'jwk' })),
    }
    return parsed
  }
}

const notFound = (): Response =>
  new Response('{"type":"about:blank","title":"Not found","status":404}', {
    status: 404,
    headers: { 'content-type': 'application/problem+json' },
  })

export interface ProxyDoor {
  readonly proxy: Proxy
  readonly port: number
  /** The certificate of an identity that was renewed, unless the operator gave one. */
  renewed(held: HeldIdentity): void
  /** Ends the listener. */
  close(): Promise<void>
}

export interface ProxyDoorParts {
  readonly config: ServeConfig['proxy']
  readonly cluster: { readonly cluster: string; readonly api: string }
  current(): HeldIdentity
  readonly presence: PresenceStore
  readonly policy: PolicySource
  onPolicy(policy: Policy): void
  readonly together?: ProxyDeps['together']
  readonly metrics: Metrics
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** What a proxy is called that listens at this port: as it is configured, else where it listens. */
export function ownAddresses(config: ServeConfig['proxy'], port: number): string[] {
  const names = namesFor(config.listen.host)
  return [...new Set([names.main, ...names.ips, ...names.dns])].map((n) => address(n, port))
}

/** It listens, and refuses tunnels until the proxy is started. */
export async function openProxyDoor(parts: ProxyDoorParts): Promise<ProxyDoor> {
  const { config, clock, random, log, metrics } = parts
  const current = (): HeldIdentity => parts.current()
  const { cluster, api } = parts.cluster
  const trust = trustOf(current)
  let port = config.listen.port
  const own = () => ownAddresses(config, port)
  const peer = () => config.peerAddress ?? own()[0] ?? ''
  const proxy = createProxy({
    cluster,
    identity: current,
    hostCas: () => trust().host,
    userCas: () => trust().user,
    policyKeys: () => trust().keys,
    presence: parts.presence,
    publicAddresses: () => [...new Set([...config.publicAddresses, ...own(), peer()])],
    peerAddress: peer,
    policy: parts.policy,
    onPolicy: (policy) => parts.onPolicy(policy),
    cas: () => bundleOf(current()),
    discovery: (proxies) => ({
      cluster,
      api,
      proxies: [...proxies],
      ca_pins: trust().host.map((ca) => caPin(ca.publicKey)),
    }),
    limits: { trustedProxies: config.trustedProxies },
    ...(parts.together && { together: parts.together }),
    metrics,
    clock,
    random,
    log,
  })
  const given = await ownTls(config.tls, clock, log)
  const listener = await openListener(
    config.listen,
    given ? given.material : identityTls(current()),
    {
      fetch: () => Promise.resolve(notFound()),
      handleRequest: (request, response) => proxy.handleRequest(request, response),
      handleUpgrade: (request, socket, head) => proxy.handleUpgrade(request, socket, head),
    },
  )
  const unfollow = given?.follow(listener)
  port = listener.port
  return {
    proxy,
    port,
    renewed(held) {
      if (!given) listener.setTls(identityTls(held))
    },
    async close() {
      unfollow?.()
      await listener.close()
    },
  }
}
