/** `postern serve proxy`: one proxy of several. It joins as any machine does and shares the table with the others. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import path from 'node:path'
import { ensurePrivateDir } from '../../agent/identity/files.ts'
import { lockDataDir } from '../../agent/identity/lock.ts'
import type { HeldIdentity } from '../../agent/identity/store.ts'
import { createLog } from '../../agent/log.ts'
import { readCertificate, type Certificate } from '../../core/certs/x509-read.ts'
import { caPin } from '../../core/certs/signer.ts'
import type { CaBundle } from '../../core/domain/policy.ts'
import { AppError, toAppError } from '../../core/errors.ts'
import { proxyIdOf } from '../../core/ids.ts'
import { createMetrics } from '../../core/metrics/metrics.ts'
import { apiPolicySource } from '../../proxy/policy-source.ts'
import { createProxy } from '../../proxy/proxy.ts'
import type { Cli } from '../cli.ts'
import { serveDiagnostics } from '../diagnostics.ts'
import { address } from '../listen.ts'
import { uncaughtInto } from '../ui/uncaught.ts'
import { openListener, type TlsMaterial } from '../up/listener.ts'
import { namesFor } from '../up/names.ts'
import { closer, untilStopped } from '../up/stopping.ts'
import type { ServeConfig } from './config.ts'
import { joinAsProxy } from './proxy-identity.ts'
import { openTable } from './table.ts'
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

export async function serveProxy(cli: Cli, config: ServeConfig): Promise<void> {
  const { clock: machineClock, random } = cli
  const { listen, publicAddresses, peerAddress, drainTimeout } = config.proxy
  const stopping = closer()
  const ending = new AbortController()
  const { signal } = ending
  try {
    const dir = path.join(config.dataDir, 'proxy')
    await ensurePrivateDir(config.dataDir)
    await ensurePrivateDir(dir)
    const lock = await lockDataDir(dir, random)
    stopping.push(() => lock.release())
    const log = createLog(config.log, machineClock)
    uncaughtInto(log)
    const stopped = untilStopped(log)
    const stop = (): void => ending.abort(new AppError('ERR_TUNNEL_CLOSED', 'the proxy stops'))
    // While it joins there is nothing to drain.
    let joining = true
    void stopped.then(() => joining && stop())
    const table = await openTable(cli, config)
    stopping.push(() => table.close())
    const identity = await joinAsProxy(cli, config, { dir, log, signal })
    joining = false
    stopping.push(() => identity.api.close())
    const { clock } = identity
    const metrics = createMetrics()
    const trust = trustOf(() => identity.current())

    let port = listen.port
    const names = namesFor(listen.host)
    const own = () =>
      [...new Set([names.main, ...names.ips, ...names.dns])].map((n) => address(n, port))
    const peer = () => peerAddress ?? own()[0] ?? ''
    const proxy = createProxy({
      cluster: identity.cluster.cluster,
      identity: () => identity.current(),
      hostCas: () => trust().host,
      userCas: () => trust().user,
      policyKeys: () => trust().keys,
      presence: table.presence(),
      publicAddresses: () => [...new Set([...publicAddresses, ...own(), peer()])],
      peerAddress: peer,
      policy: apiPolicySource(identity.api),
      onPolicy: (policy) => identity.cas.takePolicy(policy),
      cas: () => bundleOf(identity.current()),
      discovery: (proxies) => ({
        cluster: identity.cluster.cluster,
        api: identity.cluster.api,
        proxies: [...proxies],
        ca_pins: trust().host.map((ca) => caPin(ca.publicKey)),
      }),
      limits: { trustedProxies: config.proxy.trustedProxies },
      metrics,
      clock,
      random,
      log,
    })
    if (config.diag)
      stopping.push(
        await serveDiagnostics(config.diag, { metrics, clock, log, ready: () => proxy.ready() }),
      )
    const given = await ownTls(config.proxy.tls, clock, log)
    const listener = await openListener(
      listen,
      given ? given.material : identityTls(identity.current()),
      {
        fetch: () => Promise.resolve(notFound()),
        handleRequest: (request, response) => proxy.handleRequest(request, response),
        handleUpgrade: (request, socket, head) => proxy.handleUpgrade(request, socket, head),
      },
    )
    stopping.push(() => listener.close())
    if (given) stopping.push(given.follow(listener))
    stopping.push(() => proxy.close())
    port = listener.port
    let refused: AppError | undefined
    const kept = identity
      .keep((held) => {
        if (!given) listener.setTls(identityTls(held))
      })
      .catch((e: unknown) => {
        if (!signal.aborted) refused = toAppError(e)
      })
    await Promise.race([proxy.start(), stopped])
    const id = proxyIdOf(identity.current().agentId)
    cli.out(`proxy ${id} at ${publicAddresses[0] ?? own()[0] ?? ''}`)
    log.info('proxy.listening', { proxyId: id, port })
    await Promise.race([stopped, kept])
    await proxy.drain(drainTimeout)
    stop()
    await kept
    if (refused) throw refused
  } finally {
    ending.abort()
    await stopping.run(cli)
  }
}
