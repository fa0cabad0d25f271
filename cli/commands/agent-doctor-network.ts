/** The way of `postern doctor -c FILE` from an agent's machine to the cluster, as the agent would go it. */
import type { AgentConfig } from '../../agent/config.ts'
import { provenKey } from '../../agent/join/proven-call.ts'
import type { HeldIdentity } from '../../agent/identity/store.ts'
import { readCertificate, toPem } from '../../core/certs/x509-read.ts'
import { isAppError, reasonOf } from '../../core/errors.ts'
import { apiClient } from '../../net/http-client.ts'
import { fetchPinnedCa, systemTrust, type Trust } from '../../net/trust.ts'
import type { Cli } from '../cli.ts'
import { Problem, type Examination } from '../doctor/examination.ts'
import {
  examineDiscovery,
  examineProxy,
  examineWay,
  withoutLogin,
  type Way,
} from '../doctor/hops.ts'
import type { ForwardProxy } from '../../net/forward-proxy.ts'

async function trustFor(config: AgentConfig, httpsProxy: ForwardProxy | undefined): Promise<Trust> {
  if (config.caPins.length === 0) return systemTrust
  const { ca } = await fetchPinnedCa({
    url: config.proxyServer,
    pins: config.caPins,
    proxy: httpsProxy,
  })
  // As the agent does: the pinned CA, and public certificates as well (docs/join/sealed-joins.md).
  return { system: true, ca }
}

export async function examineNetwork(
  cli: Cli,
  exam: Examination,
  config: AgentConfig,
  held: readonly HeldIdentity[],
): Promise<void> {
  const { httpsProxy } = cli.env
  const { hostname, port } = new URL(config.proxyServer)
  const through = httpsProxy(hostname, Number(port || 443))
  await exam.check('HTTPS_PROXY', '', () =>
    through === undefined
      ? 'not used from here; the agent’s service may have another environment'
      : `used: ${withoutLogin(through)}`,
  )
  const { origin } = new URL(config.proxyServer)
  let trust: Trust = systemTrust
  const blind: Way = { cli, exam, origin, trust: { system: true, ca: [] }, pins: [], httpsProxy }
  const pinned = await exam.check('ca_pin', origin, async () => {
    if (config.caPins.length === 0) return 'not set; TLS believes the roots of this machine'
    trust = await trustFor(config, httpsProxy).catch((cause: unknown) => {
      // What is not reached is told hop by hop below.
      if (!isAppError(cause) || cause.code !== 'ERR_CA_PIN_MISMATCH') return systemTrust
      throw new Problem(
        'the cluster has no CA with this pin',
        'compare ca_pin with what postern tokens add prints; after a rotation it is another',
        { cause },
      )
    })
    return trust.ca.length > 0 ? 'the cluster has the pinned CA' : 'not compared: not reached'
  })
  // It may be a proxy of its own, which shows its identity instead of a name.
  const anyProxy = { ...trust, anyProxy: true }
  const way: Way = { ...blind, trust: anyProxy, pins: trust.ca.length > 0 ? config.caPins : [] }
  const reached = await examineWay(way)
  const cluster = held[0]?.stored.credentials.cluster
  const found = await examineDiscovery(way, cluster, [pinned, reached])
  for (const one of held)
    await exam.check(
      'request',
      one.stored.credentials.cluster,
      () => request(cli, one, { api: found?.api ?? origin, origin, trust, httpsProxy }),
      [reached],
    )
  if (found && trust.ca.length > 0)
    await exam.check(
      'proof',
      new URL(found.api).host,
      () => prove(cli, { ...found, ca: trust.ca, httpsProxy }),
      [reached],
    )
  const hostCas = held[0]
    ? held[0].stored.credentials.host_ca.x509.map((pem) => readCertificate(pem))
    : trust.ca.map((pem) => readCertificate(pem))
  if (!found || hostCas.length === 0) return
  for (const address of found.proxies) {
    // The proxy's TLS may be anybody's; the handshake inside proves it.
    const ca = hostCas.map((c) => toPem(c.raw))
    const there: Way = {
      ...way,
      origin: `https://${address}`,
      trust: { system: true, ca, anyProxy: true },
      pins: [],
    }
    const same = new URL(there.origin).host === new URL(origin).host
    const open = same ? reached : await examineWay(there)
    await examineProxy(there, { cluster: found.cluster, hostCas, purpose: 'agent' }, [open])
  }
}

/** What a join asks for before it sends anything: whose certificate TLS showed does not matter then. */
async function prove(
  cli: Cli,
  at: {
    readonly cluster: string
    readonly api: string
    readonly ca: readonly string[]
    readonly httpsProxy: ForwardProxy | undefined
  },
): Promise<string> {
  const { cluster, ca, httpsProxy: proxy } = at
  const { clock, random } = cli
  const api = apiClient({ baseUrl: at.api, trust: { system: true, ca }, clock, random, proxy })
  try {
    const { signal } = new AbortController()
    await provenKey({ api, cluster: { cluster, pinnedCas: ca }, clock, signal })
    return 'the API proves the pinned CA, whoever ends TLS before it'
  } catch (cause) {
    throw new Problem(
      isAppError(cause) && cause.code === 'ERR_CA_PIN_MISMATCH'
        ? 'the API does not prove the pinned CA: no secret would be sent to it'
        : reasonOf(cause),
      'compare proxy_server and ca_pin with what postern tokens add prints; update the control plane before agents',
      { cause },
    )
  } finally {
    api.close()
  }
}

async function request(
  cli: Cli,
  held: HeldIdentity,
  to: {
    readonly api: string
    readonly origin: string
    readonly trust: Trust
    readonly httpsProxy: ForwardProxy | undefined
  },
): Promise<string> {
  const other = new URL(to.api).origin !== to.origin
  const api = apiClient({
    baseUrl: to.api,
    trust: { system: other || to.trust.system, ca: to.trust.ca },
    cluster: held.stored.credentials.cluster,
    identity: () => held,
    clock: cli.clock,
    random: cli.random,
    proxy: to.httpsProxy,
  })
  try {
    await api.request('GET', '/v1/policy/freshness')
    const off = api.clockOffset
    return off === 0
      ? 'the signed request was taken'
      : `taken, after correcting the clock by ${Math.round(off / 1000)} s`
  } catch (cause) {
    const locked = isAppError(cause) && cause.code === 'ERR_LOCKED'
    throw new Problem(
      reasonOf(cause),
      locked
        ? `agent ${held.agentId} is locked: ask an operator (postern get lock)`
        : 'the identity is not accepted: remove it and join again with a token',
      { cause },
    )
  } finally {
    api.close()
  }
}
