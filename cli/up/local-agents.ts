/**
 * The agent of this very machine, and the file for a second one. Both join as any machine would: with a token that is good
 * once, over HTTPS, against the pin of the CA.
 */
import { existsSync } from 'node:fs'
import { hostname } from 'node:os'
import path from 'node:path'
import { stringify } from 'yaml'
import { secretCreated, tokenDocument } from '../../core/api/documents.ts'
import { isAppError, type AppError } from '../../core/errors.ts'
import { isResourceName } from '../../core/domain/name.ts'
import type { Log } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics/metrics.ts'
import { parse } from '../../core/parse.ts'
import type { ApiClient } from '../../net/http-client.ts'
import { parseAgentConfig } from '../../agent/config.ts'
import { writeAtomic } from '../../agent/identity/files.ts'
import { startAgent } from '../../agent/main.ts'
import type { Cli } from '../cli.ts'
import type { Cluster } from './cluster.ts'
import type { Closer } from './stopping.ts'

/** An agent that has not joined by then is told of on the screen; it goes on trying. */
const AGENT_WAIT_MS = 15_000

/** A host name as a node name: lower case, everything else that is not allowed becomes a dash. */
function nodeName(host = hostname()): string {
  const name = host
    .toLowerCase()
    .replaceAll(/[^a-z0-9.-]/g, '-')
    .slice(0, 61)
    .replaceAll(/^[.-]+|[.-]+$/g, '')
  return isResourceName(name) ? name : 'node'
}

interface AgentFileInput {
  readonly name: string
  readonly proxyServer: string
  readonly caPins: readonly string[]
  readonly dataDir: string
  readonly tokenFile: string
}

const agentYaml = (input: AgentFileInput): string =>
  stringify({
    version: 'v1',
    postern: {
      nodename: input.name,
      data_dir: input.dataDir,
      proxy_server: input.proxyServer,
      auth_token: input.tokenFile,
      ca_pin: [...input.caPins],
    },
    ssh_service: { enabled: true },
  })

const hasIdentity = (dataDir: string): boolean =>
  existsSync(path.join(dataDir, 'ssh', 'identity.json'))

export const hasLocalAgent = (dataDir: string): boolean => hasIdentity(path.join(dataDir, 'agent'))

const orAbsent = (e: unknown): undefined => {
  if (isAppError(e) && e.code === 'ERR_NOT_FOUND') return undefined
  throw e
}

/** Keeps the token of an earlier start while it is good, so that restarts do not pile up tokens. */
async function mintInto(
  api: ApiClient,
  name: string,
  tokenFile: string,
  ttl: string,
): Promise<void> {
  const path = `/v1/tokens/${name}`
  const known = await api.request('GET', path).catch(orAbsent)
  const active = tokenDocument.safeParse(known).data?.status.state === 'active'
  if (active && existsSync(tokenFile)) return
  if (known !== undefined) await api.request('DELETE', path).catch(orAbsent)
  const answer = await api.request('POST', '/v1/tokens', {
    name,
    roles: ['Node'],
    ttl,
    max_uses: 1,
  })
  await writeAtomic(tokenFile, `${parse(secretCreated, answer, { code: 'ERR_INTERNAL' }).secret}\n`)
}

export interface LocalAgentDeps {
  readonly api: ApiClient
  readonly dataDir: string
  readonly cluster: Pick<Cluster, 'address' | 'plane'>
}

interface Prepared {
  readonly name: string
  readonly yaml: string
  /** It had no identity: a token was minted, good for this one join. */
  readonly minted: boolean
}

async function prepare(
  deps: LocalAgentDeps,
  what: { readonly dir: string; readonly name: string; readonly ttl: string },
): Promise<Prepared> {
  const dataDir = path.join(deps.dataDir, what.dir)
  const tokenFile = path.join(deps.dataDir, `${what.dir}.token`)
  const minted = !hasIdentity(dataDir)
  if (minted) await mintInto(deps.api, `up-${what.dir}`, tokenFile, what.ttl)
  const yaml = agentYaml({
    name: what.name,
    proxyServer: deps.cluster.address,
    caPins: deps.cluster.plane.caPins,
    dataDir,
    tokenFile,
  })
  return { name: what.name, yaml, minted }
}

export interface ShownAgent {
  readonly name: string
  readonly id: string | undefined
  readonly joined: boolean
  readonly error: AppError | undefined
}

/** Starts the agent in this process and waits, within reason, until it is online. */
export async function startLocalAgent(
  deps: LocalAgentDeps & {
    readonly cli: Pick<Cli, 'clock' | 'random'>
    readonly log: Log
    readonly metrics: Metrics
    readonly stopping: Closer
    readonly stopped: Promise<void>
  },
): Promise<ShownAgent> {
  const { clock, random } = deps.cli
  const { name, yaml, minted } = await prepare(deps, { dir: 'agent', name: nodeName(), ttl: '10m' })
  const config = parseAgentConfig(yaml, { hostname: hostname() })
  // Without the environment: a forward proxy is not for a connection to ourselves.
  const { log, metrics } = deps
  const agent = await startAgent({ config, clock, random, log, metrics, env: {} })
  deps.stopping.push(() => agent.stop())
  const enough = new AbortController()
  const timer = clock.after(AGENT_WAIT_MS, () => enough.abort())
  void deps.stopped.then(() => enough.abort())
  await agent.settled(enough.signal).catch(() => undefined)
  timer.cancel()
  const state = agent.services.get('ssh')
  const error = state && 'error' in state ? state.error : undefined
  return { name, id: agent.agentId, joined: minted, error }
}

/** Writes agent2.yaml and its token: a second agent on this machine, to be started by hand. */
export async function writeSecondAgent(deps: LocalAgentDeps): Promise<void> {
  const name = `${nodeName().slice(0, 61)}-2`
  const { yaml } = await prepare(deps, { dir: 'agent2', name, ttl: '24h' })
  await writeAtomic(path.join(deps.dataDir, 'agent2.yaml'), yaml)
}
