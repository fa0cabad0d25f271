/** `postern serve api`: the control plane alone, over a table that it shares with the proxies. CA keys are files of this machine. */
import path from 'node:path'
import { ensurePrivateDir } from '../../agent/identity/files.ts'
import { createLog } from '../../agent/log.ts'
import { reasonOf } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { createMetrics } from '../../core/metrics/metrics.ts'
import type { Log } from '../../core/log.ts'
import { createLocalControlPlane, type LocalControlPlane } from '../../functions/wiring.ts'
import type { Health } from '../../net/diagnostics.ts'
import type { Cli } from '../cli.ts'
import { serveDiagnostics } from '../diagnostics.ts'
import { address } from '../listen.ts'
import { uncaughtInto } from '../ui/uncaught.ts'
import { signInOwner } from '../up/first-user.ts'
import { openListener } from '../up/listener.ts'
import { namesFor, type Names } from '../up/names.ts'
import { countRequests } from '../up/request-metrics.ts'
import { closer, untilStopped } from '../up/stopping.ts'
import { serverTls } from '../up/tls.ts'
import { migrate } from '../../functions/store/upkeep/migrate.ts'
import type { ServeConfig } from './config.ts'
import { ownClient } from './own-client.ts'
import { openTable, untilThere } from './table.ts'
import { LOOK_EVERY_MS, ownTls } from './tls.ts'

/** Names of the listener's certificate: where it listens, and how it is reached from outside. */
function withPublic(names: Names, publicAddresses: readonly string[]): Names {
  const hosts = publicAddresses.map((one) =>
    new URL(`https://${one}`).hostname.replace(/^\[|\]$/g, ''),
  )
  const isIp = (host: string): boolean => /^[0-9.]+$/.test(host) || host.includes(':')
  return {
    main: hosts[0] ?? names.main,
    dns: [...new Set([...names.dns, ...hosts.filter((host) => !isIp(host))])],
    ips: [...new Set([...names.ips, ...hosts.filter(isIp)])],
  }
}

/** Addresses of the proxies that have a lease, looked up as often as leases are renewed. The last ones that were seen stay. */
function liveProxies(
  cli: Cli,
  presence: () => LocalControlPlane['stores']['presence'],
  log: Log,
  changed: () => void,
): {
  readonly list: () => readonly string[]
  look(): Promise<void>
  /** Did the table answer when it was last asked? Without it the control plane can say nothing to anybody. */
  ready(): Health
} {
  let known: readonly string[] = []
  let answers = false
  return {
    list: () => known,
    ready() {
      return { ok: answers, facts: { state: answers ? 'serving' : 'storeless' } }
    },
    async look() {
      try {
        const live = await presence().liveProxies(cli.clock.now())
        answers = true
        const found = [...new Set(live.map((lease) => lease.address))].sort()
        if (found.length === 0 || found.join() === known.join()) return
        known = found
        changed()
      } catch (e) {
        answers = false
        log.warn('api.proxies_unread', { reason: reasonOf(e) })
      }
    },
  }
}

export async function serveApi(cli: Cli, config: ServeConfig): Promise<void> {
  const { clock, random } = cli
  const { dataDir, api } = config
  const stopping = closer()
  const ending = new AbortController()
  const log = createLog(config.log, clock)
  uncaughtInto(log)
  const stopped = untilStopped(log)
  void stopped.then(() => ending.abort())
  try {
    await ensurePrivateDir(dataDir)
    const table = await openTable(cli, config)
    stopping.push(() => table.close())
    await untilThere(table, cli, log, ending.signal)
    await migrate({ ...table.at(), log })

    let port = api.listen.port
    let names = namesFor(api.listen.host)
    const scheme = api.tls === 'off' && api.publicAddresses.length === 0 ? 'http' : 'https'
    const own = () =>
      [...new Set([names.main, ...names.ips, ...names.dns])].map((name) => address(name, port))
    const origins = () =>
      [...new Set([...api.publicAddresses, ...own()])].map(
        (at) => new URL(`${scheme}://${at}`).origin,
      )
    let renewOwner = (): Promise<void> => Promise.resolve()
    const live = liveProxies(
      cli,
      () => plane.stores.presence,
      log,
      () => void renewOwner(),
    )
    const proxies = () => api.proxies ?? live.list()

    const plane = await createLocalControlPlane({
      dataDir,
      stores: (cursorKey) => table.stores(cursorKey),
      publicOrigins: origins,
      proxies,
      clock,
      random,
      log,
      ...(config.clusterName === undefined ? {} : { clusterName: config.clusterName }),
    })
    stopping.push(() => plane.close())
    await live.look()

    const metrics = createMetrics()
    if (config.diag)
      stopping.push(
        await serveDiagnostics(config.diag, { metrics, clock, log, ready: () => live.ready() }),
      )
    const given = await ownTls(api.tls, clock, log)
    const issued = given
      ? undefined
      : await serverTls(plane, clock, withPublic(names, api.publicAddresses))
    const listener = await openListener(
      api.listen,
      given ? given.material : issued?.material,
      {
        fetch: countRequests(metrics, clock, (request, peer) => plane.fetch(request, peer)),
        handleRequest(request, response) {
          if (request.url !== '/healthz' && request.url !== '/readyz') return false
          const { ok, facts } = live.ready()
          const status = ok || request.url === '/healthz' ? 200 : 503
          response.writeHead(status, { 'content-type': 'application/json' })
          response.end(JSON.stringify(facts))
          return true
        },
        handleUpgrade: (_request, socket) => socket.destroy(),
      },
      api.trustedProxies,
    )
    stopping.push(() => listener.close())
    if (given) stopping.push(given.follow(listener))
    port = listener.port

    const [origin = ''] = origins()
    const client = (bearer: string) => ownClient(plane, origin, bearer)
    const owner = await signInOwner({ cli, cluster: { plane, origin, client, proxies }, dataDir })
    renewOwner = () =>
      owner.renew().catch((e: unknown) => log.error('api.renewal_failed', { reason: reasonOf(e) }))

    const renew = (): void => {
      names = namesFor(api.listen.host)
      void renewOwner()
      issued?.renew(withPublic(names, api.publicAddresses)).then(
        (next) => next && listener.setTls(next),
        (e: unknown) => log.error('api.renewal_failed', { reason: reasonOf(e) }),
      )
    }
    // A certificate of a CA that is believed no more would keep everybody out until the next look.
    stopping.push(plane.onCaChange(renew))
    const timers = [
      clock.every(LIMITS.leaseRenew.value, () => void live.look()),
      clock.every(LOOK_EVERY_MS, renew),
    ]
    stopping.push(() => timers.forEach((timer) => timer.cancel()))

    cli.out(`control plane of ${plane.cluster} at ${origin}`)
    cli.out(`ca pin ${plane.caPins.join(' ')}`)
    if (owner.newKey !== undefined) cli.out(`operator key, shown this once: ${owner.newKey}`)
    cli.note(`you are ${owner.owner.user}; the profile is ${path.join(dataDir, 'profile')}`)
    log.info('api.serving', { origin, cluster: plane.cluster })
    await stopped
  } finally {
    await stopping.run(cli)
  }
}
