/** `postern up`: puts the parts together in one process, in the order in which they need each other, and takes them apart. */
import { renameSync, statSync } from 'node:fs'
import path from 'node:path'
import { writeAtomic, ensurePrivateDir } from '../../agent/identity/files.ts'
import { lockDataDir } from '../../agent/identity/lock.ts'
import { createLog } from '../../agent/log.ts'
import { startAgent } from '../../agent/main.ts'
import type { Clock } from '../../core/clock.ts'
import { isAppError } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { createLocalControlPlane } from '../../functions/wiring.ts'
import { apiClient, type ApiClient } from '../../net/http-client.ts'
import type { Cli } from '../cli.ts'
import { painter } from '../ui/style.ts'
import { uncaughtInto } from '../ui/uncaught.ts'
import { operatorKey, ownerOf, ownerProfile } from './first-user.ts'
import { openListener } from './listener.ts'
import { firstAgentConfig, writeSecondAgent, type LocalAgentDeps } from './local-agents.ts'
import { address, parseListen } from '../listen.ts'
import { isLoopback, namesFor } from './names.ts'
import { localProxyIdentity } from './proxy-identity.ts'
import { screen } from './screen.ts'
import { closer, untilStopped } from './stopping.ts'
import { startProxy } from './start-proxy.ts'
import { serverTls } from './tls.ts'

export interface UpOptions {
  readonly dataDir: string
  readonly listen: string
  readonly agent: boolean
}

const RENEW_CHECK_MS = 60_000
/** An agent that has not joined by then is told of on the screen; it goes on trying. */
const AGENT_WAIT_MS = 15_000

const LOG_MAX = 16 * 1024 * 1024
/** The operational log, so that the screen stays calm. A long one is set aside at the start. */
function openLog(output: string, clock: Clock): Log {
  if ((statSync(output, { throwIfNoEntry: false })?.size ?? 0) > LOG_MAX)
    renameSync(output, `${output}.1`)
  return createLog({ output, severity: 'INFO', format: 'text' }, clock)
}

export async function up(cli: Cli, options: UpOptions): Promise<void> {
  const { clock, random } = cli
  const asked = parseListen(options.listen)
  const dataDir = path.resolve(cli.cwd, options.dataDir)
  const stopping = closer()
  try {
    await ensurePrivateDir(dataDir)
    const lock = await lockDataDir(dataDir, random)
    stopping.push(() => lock.release())
    const log = openLog(path.join(dataDir, 'up.log'), clock)
    uncaughtInto(log)
    log.info('up.start', { pid: process.pid, listen: options.listen })

    let port = asked.port
    let names = namesFor(asked.host)
    const origins = () => [names.main, ...names.ips, ...names.dns].map((n) => address(n, port))
    const own = () => [...new Set(origins())]
    const plane = await createLocalControlPlane({
      dataDir,
      publicOrigins: () => own().map((at) => `https://${at}`),
      proxies: () => [address(names.main, port)],
      clock,
      random,
      log,
    })
    stopping.push(() => plane.close())

    const tls = await serverTls(plane, clock, names)
    const identity = await localProxyIdentity({ plane, dataDir, clock, random })
    const proxy = startProxy({ cli, plane, identity, addresses: own, log })
    stopping.push(() => proxy.stop())
    const listener = await openListener(asked, tls.material, {
      fetch: (request, peer) => plane.fetch(request, peer),
      handleRequest: (request, response) => proxy.handleRequest(request, response),
      handleUpgrade: (request, socket, head) => proxy.handleUpgrade(request, socket, head),
    })
    stopping.push(() => listener.close())
    port = listener.port

    const origin = `https://${address(names.main, port)}`
    const hostCas = plane.caBundle.host.x509
    const trust = { system: false, ca: hostCas }
    const client = (bearer: string): ApiClient =>
      apiClient({ baseUrl: origin, trust, bearer, clock, random })
    await proxy.start(origin)

    const owner = ownerOf(cli.env.user)
    const profileDir = path.join(dataDir, 'profile')
    const key = await operatorKey({
      plane,
      profileDir,
      owner,
      works: async (known) => {
        const probe = client(known)
        return probe
          .request('GET', '/v1/whoami')
          .then(() => true)
          .catch((e: unknown) => {
            if (isAppError(e) && e.kind.exitCode === 3) return false
            throw e
          })
          .finally(() => probe.close())
      },
    })
    const api = client(key.key)
    stopping.push(() => api.close())
    const profile = await ownerProfile({
      cli,
      clock,
      plane,
      api,
      apiOrigin: origin,
      proxies: () => [address(names.main, port)],
      profileDir,
      owner,
      operatorKey: key.key,
    })
    // The file has the content type too, so that the curl of the screen stays one short line.
    const header = `authorization: Bearer ${key.key}\ncontent-type: application/json\n`
    await writeAtomic(path.join(dataDir, 'operator.header'), header, random)
    await writeAtomic(path.join(dataDir, 'ca.pem'), hostCas.join(''), random)
    await writeAtomic(path.join(dataDir, 'ssh_config'), profile.sshConfig, random)

    const agents: LocalAgentDeps = {
      api,
      dataDir,
      proxyServer: address(names.main, port),
      caPins: plane.caPins,
    }
    const running = options.agent ? await startLocalAgent(agents) : undefined
    await writeSecondAgent(agents)

    const renewals = clock.every(RENEW_CHECK_MS, () => {
      names = namesFor(asked.host)
      const failed = (e: unknown) => log.error('up.renewal', { reason: String(e) })
      tls.renew(names).then((next) => next && listener.setTls(next), failed)
      identity.renew().catch(failed)
      profile.renew().catch(failed)
    })
    stopping.push(() => renewals.cancel())

    const stopped = untilStopped(log)
    const paint = painter(cli.stdout, cli.env.noColor)
    const shown = screen(
      {
        cluster: plane.cluster,
        origin,
        cwd: cli.cwd,
        dataDir,
        owner,
        caPins: plane.caPins,
        newKey: key.fresh ? key.key : undefined,
        agent: running?.shown,
        agentError: running?.error(),
        loopback: isLoopback(asked.host),
      },
      paint,
    )
    for (const line of shown) cli.out(line)
    log.info('up.ready', { origin, ca: hostCas.map((pem) => readCertificate(pem).fingerprint) })
    await stopped
    cli.note('stopping …')

    async function startLocalAgent(deps: LocalAgentDeps) {
      const config = await firstAgentConfig(deps)
      const agent = await startAgent({ config: config.config, clock, random, log, env: {} })
      stopping.push(() => agent.stop())
      const late = new AbortController()
      const timer = clock.after(AGENT_WAIT_MS, () => late.abort())
      await agent.settled(late.signal).catch(() => undefined)
      timer.cancel()
      const state = agent.services.get('ssh')
      return {
        shown: { name: config.config.nodeName, id: agent.agentId, joined: config.minted },
        error: () => (state && 'error' in state ? state.error : undefined),
      }
    }
  } finally {
    await stopping.run(cli)
  }
}
