/**
 * A whole gate on loopback: control plane, proxy and HTTPS listener as `postern up` composes them, agents started from
 * configuration text, users with certificates. Real sockets, real time.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { secretCreated } from '../../../core/api/documents.ts'
import { userCertificates } from '../../../core/api/login.ts'
import { fromSeconds, sleep, systemClock, type Clock } from '../../../core/clock.ts'
import { generateKey, spki } from '../../../core/certs/signer.ts'
import { systemRandom } from '../../../core/random.ts'
import { parseAgentConfig } from '../../../agent/config.ts'
import { startAgent, type RunningAgent } from '../../../agent/main.ts'
import { startCluster, type Cluster, type ClusterDeps } from '../../../cli/up/cluster.ts'
import { closer } from '../../../cli/up/stopping.ts'
import { listenApp, type AppListener } from '../../../cli/connect/app.ts'
import { openProxySession, type ProxySession } from '../../../cli/connect/session.ts'
import { loadProfile, saveProfile } from '../../../cli/connect/profile.ts'
import { knownHosts } from '../../../cli/ssh-config.ts'
import { apiClient, type ApiClient } from '../../../net/http-client.ts'
import { recordingLog, type RecordingLog } from '../../support/recording-log.ts'

export interface GateAgent {
  readonly agent: RunningAgent
  readonly log: RecordingLog
  readonly dataDir: string
  /** The configuration it was started with, as text. */
  readonly yaml: string
}

export interface AgentSpec {
  readonly token?: string | undefined
  /** Instead of `token`: lines of YAML under join_params. */
  readonly joinParams?: string | undefined
  readonly nodename?: string
  readonly dataDir?: string
  readonly pins?: boolean
  /** YAML of the services, default one TCP app. */
  readonly services?: string
  readonly clock?: Clock
  readonly log?: RecordingLog
  readonly env?: Readonly<Record<string, string>>
}

export interface Gate {
  readonly cluster: Cluster
  readonly operator: ApiClient
  readonly log: RecordingLog
  readonly dir: string
  /** Replaces a user's roles, or creates the user. */
  setRoles(name: string, roles: readonly string[]): Promise<void>
  mint(body?: Record<string, unknown>): Promise<string>
  yaml(spec: AgentSpec): string
  start(spec: AgentSpec): Promise<GateAgent>
  /** A signed-in user's session. */
  user(name: string, roles: readonly string[]): Promise<ProxySession>
  listen(session: ProxySession, app: string): Promise<AppListener>
  /** Resolves when the log holds an event that satisfies `want`. */
  event(want: (event: AuditLine) => boolean): Promise<AuditLine>
  close(): Promise<void>
}

export interface AuditLine {
  readonly type: string
  readonly outcome: string
  readonly actor: string
  readonly reason?: string
  readonly resource?: string
  readonly fields: Readonly<Record<string, unknown>>
}

/** `publicAddress`: what stands in front of the proxy, as in production a load balancer does. */
export async function openGate(
  options: Pick<ClusterDeps, 'issuers' | 'aws' | 'azure' | 'kubernetes' | 'publicAddress'> & {
    readonly clock?: Clock
    /** Where the directories go; default: the one for temporary files. */
    readonly root?: string
  } = {},
): Promise<Gate> {
  const dir = mkdtempSync(join(options.root ?? tmpdir(), 'postern-agent-'))
  const log = recordingLog()
  const stopping = closer()
  const clock = options.clock ?? systemClock
  const cli = { clock, random: systemRandom }
  const cluster = await startCluster({
    cli,
    dataDir: join(dir, 'plane'),
    listen: { host: '127.0.0.1', port: 0 },
    log,
    stopping,
    ...options,
  })
  const { plane } = cluster
  const trust = () => ({ system: false, ca: plane.caBundle.host.x509 })
  const { operatorKey } = await plane.bootstrap({
    user: 'owner',
    roles: ['access', 'editor', 'auditor'],
  })
  const operator = apiClient({ baseUrl: cluster.origin, trust, bearer: operatorKey, clock })
  const agents: RunningAgent[] = []
  const sessions: ProxySession[] = []
  const listeners: AppListener[] = []

  const yaml = (spec: AgentSpec): string =>
    [
      'version: v1',
      'postern:',
      `  nodename: ${spec.nodename ?? 'web-1'}`,
      `  data_dir: ${spec.dataDir ?? join(dir, 'agent')}`,
      `  proxy_server: ${cluster.address}`,
      ...(spec.token === undefined ? [] : [`  auth_token: ${spec.token}`]),
      ...(spec.joinParams === undefined ? [] : [`  join_params: ${spec.joinParams}`]),
      ...(spec.pins === false
        ? []
        : [
            `  ca_pin: ${plane.caPins.length === 1 ? plane.caPins.join() : JSON.stringify(plane.caPins)}`,
          ]),
      spec.services ?? 'app_service: { enabled: true, apps: [] }',
    ].join('\n')

  const setRoles = async (name: string, roles: readonly string[]): Promise<void> => {
    await operator.request('PUT', `/v1/users/${name}`, {
      kind: 'user',
      version: 'v2',
      metadata: { name },
      spec: { roles, traits: { logins: [name] } },
    })
  }

  return {
    cluster,
    operator,
    log,
    dir,
    yaml,
    setRoles,

    async mint(body = {}) {
      const answer = await operator.request('POST', '/v1/tokens', {
        roles: ['App'],
        ...body,
      })
      return secretCreated.parse(answer).secret
    },

    async start(spec) {
      const text = yaml(spec)
      const own = spec.log ?? recordingLog()
      const agent = await startAgent({
        config: parseAgentConfig(text, { hostname: 'test-host' }),
        log: own,
        env: { PATH: process.env['PATH'], ...spec.env },
        clock: spec.clock ?? clock,
      })
      agents.push(agent)
      return { agent, log: own, dataDir: agent.config.dataDir, yaml: text }
    },

    async user(name, roles) {
      await setRoles(name, roles)
      const { privateKey, publicKey } = generateKey()
      const certs = userCertificates.parse(
        await operator.request('POST', '/v1/certs', {
          public_key: spki(publicKey).toString('base64url'),
          user: name,
        }),
      )
      const profileDir = join(dir, `profile-${name}-${systemRandom.bytes(4).toString('hex')}`)
      await saveProfile(profileDir, {
        cluster: plane.cluster,
        api: cluster.origin,
        proxies: [options.publicAddress?.(cluster.address) ?? cluster.address],
        user: name,
        caPins: plane.caPins,
        expires: fromSeconds(certs.expires),
        hostCas: plane.caBundle.host.x509,
        keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
        certificatePem: certs.x509,
        sshCertificate: certs.ssh,
        knownHosts: knownHosts(plane.cluster, plane.caBundle.host.ssh),
        sshConfig: '',
        policyKeys: plane.caBundle.policy,
        caVersion: plane.caVersion,
      })
      const session = openProxySession({
        profile: await loadProfile(profileDir),
        clock,
        onResumed: () => log.info('test.resumed', { user: name }),
      })
      sessions.push(session)
      return session
    },

    async listen(session, app) {
      const listener = await listenApp({
        session,
        name: app,
        onError: (e) =>
          log.warn('test.app_failed', { code: e.code, reason: e.internal ?? e.message }),
      })
      listeners.push(listener)
      return listener
    },

    async event(want) {
      for (;;) {
        const page = (await operator.request('GET', '/v1/events?limit=200')) as {
          items: AuditLine[]
        }
        const found = page.items.find(want)
        if (found) return found
        // The agent uploads in its own time.
        await sleep(systemClock, 50)
      }
    },

    async close() {
      for (const listener of listeners) await listener.close()
      for (const session of sessions) session.close()
      await Promise.all(agents.map((agent) => agent.stop()))
      operator.close()
      await stopping.run({ note: (line: string) => log.error('test.stopping', { line }) } as never)
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
