/**
 * The agent of this very machine, and the file for a second one. Both join as any machine would: with a token that is good
 * once, over HTTPS, against the pin of the CA.
 */
import { existsSync } from 'node:fs'
import { hostname } from 'node:os'
import path from 'node:path'
import { stringify } from 'yaml'
import { tokenCreated } from '../../core/api/documents.ts'
import { isResourceName } from '../../core/domain/name.ts'
import { parse } from '../../core/parse.ts'
import type { ApiClient } from '../../net/http-client.ts'
import { parseAgentConfig, type AgentConfig } from '../../agent/config.ts'
import { writeAtomic } from '../../agent/identity/files.ts'

/** A host name as a node name: lower case, everything else that is not allowed becomes a dash. */
export function nodeName(host = hostname()): string {
  const name = host
    .toLowerCase()
    .replaceAll(/[^a-z0-9.-]/g, '-')
    .slice(0, 61)
    .replaceAll(/^[.-]+|[.-]+$/g, '')
  return isResourceName(name) ? name : 'node'
}

export interface AgentFileInput {
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

async function mintInto(api: ApiClient, tokenFile: string, ttl: string): Promise<void> {
  const body = { roles: ['Node'], ttl, max_uses: 1 }
  const { secret } = parse(tokenCreated, await api.request('POST', '/v1/tokens', body), {
    code: 'ERR_INTERNAL',
  })
  await writeAtomic(tokenFile, `${secret}\n`)
}

export interface LocalAgentDeps {
  readonly api: ApiClient
  readonly dataDir: string
  /** `host:port` that agents of this machine dial. */
  readonly proxyServer: string
  readonly caPins: readonly string[]
}

export interface FirstAgent {
  readonly config: AgentConfig
  /** It had no identity: a token was minted, which is good for this one join. */
  readonly minted: boolean
}

/** Configuration of the agent in this process. */
export async function firstAgentConfig(deps: LocalAgentDeps): Promise<FirstAgent> {
  const dataDir = path.join(deps.dataDir, 'agent')
  const tokenFile = path.join(deps.dataDir, 'agent.token')
  const minted = !hasIdentity(dataDir)
  if (minted) await mintInto(deps.api, tokenFile, '10m')
  const yaml = agentYaml({ ...deps, name: nodeName(), dataDir, tokenFile })
  return { config: parseAgentConfig(yaml, { hostname: hostname() }), minted }
}

/** Writes agent2.yaml and its token: a second agent on this machine, to be started by hand. Answers the file's path. */
export async function writeSecondAgent(deps: LocalAgentDeps): Promise<string> {
  const dataDir = path.join(deps.dataDir, 'agent2')
  const tokenFile = path.join(deps.dataDir, 'agent2.token')
  if (!hasIdentity(dataDir)) await mintInto(deps.api, tokenFile, '24h')
  const file = path.join(deps.dataDir, 'agent2.yaml')
  const name = `${nodeName().slice(0, 61)}-2`
  await writeAtomic(file, agentYaml({ ...deps, name, dataDir, tokenFile }))
  return file
}
