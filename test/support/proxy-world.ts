/**
 * A proxy behind a real HTTPS listener, with a cluster's CAs, a policy that is really signed, and agents and users that dial in
 * through the real client. Time is a hand clock unless a test asks for another.
 */
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { createHash } from 'node:crypto'
import { jwsSign } from '../../core/certs/jws.ts'
import { agentUri, proxyUri, userExtension, userUri } from '../../core/certs/identity.ts'
import { generateKey, keySigner } from '../../core/certs/signer.ts'
import { issueCertificate } from '../../core/certs/x509.ts'
import { readCertificate, toPem } from '../../core/certs/x509-read.ts'
import { FRESHNESS_TYP, POLICY_TYP } from '../../core/api/policy.ts'
import { ROUTE_TYP, type RouteClaims } from '../../core/api/route.ts'
import { plus, seconds, type Clock, type Instant } from '../../core/clock.ts'
import type { Lock, LockTarget } from '../../core/domain/lock.ts'
import type { Policy } from '../../core/domain/policy.ts'
import type { ServiceKind } from '../../core/domain/service.ts'
import { newId, type AgentId, type ProxyId } from '../../core/ids.ts'
import { systemRandom } from '../../core/random.ts'
import { encodeOpen, signOffer } from '../../core/tunnel/open.ts'
import type { TunnelStream } from '../../core/tunnel/stream.ts'
import type { ResourceName } from '../../cli/connect/session.ts'
import { connectTunnel, type ConnectedTunnel, type TunnelPurpose } from '../../net/tunnel-client.ts'
import type { SessionHandlers } from '../../core/tunnel/session.ts'
import { createProxy, type Proxy, type ProxyDeps } from '../../proxy/proxy.ts'
import { memoryPresence, type MemoryPresence } from '../fakes/presence.ts'
import { CLUSTER, HOUR, makeCa, type Ca, type Leaf } from './pki.ts'
import { recordingLog, type RecordingLog } from './recording-log.ts'
import { serverTls } from './tls.ts'

export interface LeafRequest {
  readonly ca?: Ca
  readonly uri: string
  readonly notBefore?: Instant
  readonly notAfter?: Instant
  readonly user?: { readonly roles: readonly string[] }
}
export interface DialRequest extends Partial<SessionHandlers> {
  readonly leaf: Leaf
  readonly purpose?: TunnelPurpose
  /** Another way to the same proxy, `host:port`. */
  readonly via?: string
}

export interface World {
  readonly clock: Clock
  readonly hostCa: Ca
  readonly userCa: Ca
  readonly policyCa: Leaf['signer']
  readonly presence: MemoryPresence
  readonly log: RecordingLog
  readonly proxy: Proxy
  /** `127.0.0.1:port`. */
  readonly address: string
  readonly tlsCa: string
  readonly locks: Lock[]
  /** Everything peers sent to the proxy, as the proxy itself reads it: TLS of the tunnel is off already. */
  readonly wire: Buffer[]
  /** More `host:port` that lead to this proxy. */
  readonly ways: string[]
  /** How often the control plane was asked for the policy. */
  readonly fetches: () => number
  agentId(): AgentId
  leaf(request: LeafRequest): Promise<Leaf>
  agentLeaf(id: AgentId, service?: ServiceKind): Promise<Leaf>
  userLeaf(user?: string, roles?: readonly string[]): Promise<Leaf>
  dial(request: DialRequest): Promise<ConnectedTunnel>
  /** Adds a lock and moves the policy version, as the control plane does in one transaction. */
  lock(target: LockTarget): void
  route(agents: readonly AgentId[], change?: Partial<RouteClaims>): Promise<string>
  /** Opens a stream as the user would: route, signed offer, OPEN. */
  open(
    user: { readonly tunnel: ConnectedTunnel; readonly leaf: Leaf },
    agents: readonly AgentId[],
    route?: string,
    resource?: ResourceName,
  ): Promise<TunnelStream>
  /** Breaks every connection to the proxy, as a network that fails does. */
  cutAll(): void
  /** Answers `POST /v1/routes` on the proxy's own address; undefined = 404. */
  answerRoutes: (() => Promise<unknown>) | undefined
  close(): Promise<void>
}

export interface WorldOptions {
  readonly clock: Clock
  readonly presence?: MemoryPresence
  readonly deps?: Partial<ProxyDeps>
  readonly proxyId?: ProxyId
  readonly start?: boolean
}

export const newAgentId = (clock: Clock): AgentId => newId('agent', clock.now(), systemRandom)

export async function proxyWorld(options: WorldOptions): Promise<World> {
  const { clock } = options
  const now = clock.now()
  const hostCa = await makeCa('host CA', 'ES256', now)
  const userCa = await makeCa('user CA', 'ES256', now)
  const policyCa = keySigner(generateKey().privateKey)
  const presence = options.presence ?? memoryPresence()
  const log = recordingLog()
  const locks: Lock[] = []
  let fetched = 0

  async function leaf(request: LeafRequest): Promise<Leaf> {
    const signer = keySigner(generateKey().privateKey)
    const at = clock.now()
    const der = await issueCertificate({
      subject: 'test',
      publicKey: signer.publicKey,
      issuer: request.ca ?? hostCa,
      notBefore: request.notBefore ?? plus(at, -60_000),
      notAfter: request.notAfter ?? plus(at, 12 * HOUR),
      uris: [request.uri],
      usage: request.user ? ['client'] : ['client', 'server'],
      ...(request.user
        ? { extension: userExtension({ roles: request.user.roles, traits: {}, logins: [] }) }
        : {}),
    })
    return { signer, certificate: readCertificate(der) }
  }

  const policyDocument = (): Policy => ({
    cluster: CLUSTER,
    version: presence.version,
    issued: seconds(clock.now()),
    expires: seconds(clock.now()) + 3600,
    roles: [],
    users: { alice: ['access'], bob: ['access'] },
    locks,
    cas: {
      host: { x509: [toPem(hostCa.certificate.raw)], ssh: [] },
      user: { x509: [toPem(userCa.certificate.raw)], ssh: [] },
      policy: [policyCa.publicKey.export({ format: 'jwk' }) as { kty: string }],
    },
  })
  const freshness = (digest: string): Promise<string> =>
    jwsSign(
      policyCa,
      { typ: FRESHNESS_TYP },
      { cluster: CLUSTER, version: presence.version, digest, issued: seconds(clock.now()) },
    )
  const digestOf = (policy: Policy): string =>
    createHash('sha256').update(JSON.stringify(policy)).digest('base64url')

  const proxyId = options.proxyId ?? newId('proxy', now, systemRandom)
  const identity = await leaf({ uri: proxyUri(CLUSTER, proxyId) })
  const tls = await serverTls()
  const server: Server = createServer(tls.options, (request, response) => {
    if (proxy.handleRequest(request, response)) return
    if (request.url !== '/v1/routes' || !world.answerRoutes)
      return void response.writeHead(404).end()
    void world.answerRoutes().then((body) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
  })
  const wire: Buffer[] = []
  const ways: string[] = []
  const sockets = new Set<Duplex>()
  server.on('upgrade', (request, socket, head) => {
    // Before the proxy reads: what reads past 'data' events does not while somebody listens.
    socket.on('data', (bytes: Buffer) => wire.push(Buffer.from(bytes)))
    proxy.handleUpgrade(request, socket, head)
    sockets.add(socket)
  })
  server.on('tlsClientError', () => undefined)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`

  const proxy = createProxy({
    cluster: CLUSTER,
    identity: () => identity,
    hostCas: () => [hostCa.certificate],
    userCas: () => [userCa.certificate],
    policyKeys: () => [policyCa.publicKey],
    presence,
    publicAddresses: () => [address, ...ways],
    policy: {
      async policy() {
        fetched += 1
        const policy = policyDocument()
        return {
          policy: await jwsSign(policyCa, { typ: POLICY_TYP }, policy),
          freshness: await freshness(digestOf(policy)),
        }
      },
      freshness: () => freshness(digestOf(policyDocument())),
    },
    clock,
    random: systemRandom,
    log,
    ...options.deps,
  })
  if (options.start ?? true) {
    await proxy.start()
    await log.seen('proxy.policy')
  }

  async function route(
    agents: readonly AgentId[],
    change: Partial<RouteClaims> = {},
  ): Promise<string> {
    const claims: RouteClaims = {
      aud: CLUSTER,
      resource: { kind: 'node', name: 'web-1' },
      service: 'ssh',
      agents: [...agents],
      iat: seconds(clock.now()),
      exp: seconds(clock.now()) + 300,
      ...change,
    }
    return jwsSign(policyCa, { typ: ROUTE_TYP }, claims)
  }

  const tunnels: ConnectedTunnel[] = []
  const world: World = {
    answerRoutes: undefined,
    cutAll() {
      for (const socket of sockets) socket.destroy()
      sockets.clear()
    },
    clock,
    hostCa,
    userCa,
    policyCa,
    presence,
    log,
    proxy,
    address,
    tlsCa: tls.ca,
    locks,
    wire,
    ways,
    fetches: () => fetched,
    agentId: () => newAgentId(clock),
    leaf,
    agentLeaf: (id, service = 'ssh') => leaf({ uri: agentUri(CLUSTER, id, service) }),
    userLeaf: (user = 'alice', roles = ['access']) =>
      leaf({ ca: userCa, uri: userUri(CLUSTER, user), user: { roles } }),
    async dial({ leaf: identityLeaf, purpose = 'agent', via = address, ...handlers }) {
      const tunnel = await connectTunnel({
        url: `wss://${via}`,
        trust: { system: false, ca: [tls.ca] },
        cluster: CLUSTER,
        hostCas: [hostCa.certificate],
        identity: identityLeaf,
        purpose,
        clock,
        onOpen: (stream) => stream.refuse('ERR_INTERNAL'),
        ...handlers,
      })
      tunnels.push(tunnel)
      return tunnel
    },
    lock(target) {
      locks.push({
        id: newId('lock', clock.now(), systemRandom),
        target,
        message: undefined,
        created: clock.now(),
        createdBy: 'test',
        expires: undefined,
      })
      presence.version += 1
    },
    route,
    async open(user, agents, given, resource = { kind: 'node', name: 'web-1' }) {
      const jws = given ?? (await route(agents))
      const offer = await signOffer({
        cluster: CLUSTER,
        route: jws,
        resource,
        identity: user.leaf,
        now: clock.now(),
        random: systemRandom,
      })
      return user.tunnel.session.open(
        encodeOpen({ v: 1, kind: offer.offer.kind, route: jws, offer: offer.jws }),
      )
    },
    async close() {
      for (const tunnel of tunnels) tunnel.session.close()
      await proxy.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return world
}
