/** `postern agent status`: what is on disk, read without touching it. Exit code 1 when no agent runs there. */
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { enabledServices, parseAgentConfig } from '../../agent/config.ts'
import { readPrivate } from '../../agent/identity/files.ts'
import { holdIdentity, type StoredIdentity } from '../../agent/identity/store.ts'
import { iso } from '../../core/clock.ts'
import type { ServiceKind } from '../../core/domain/service.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Cli } from '../cli.ts'
import { readInput } from '../input.ts'
import { painter } from '../ui/style.ts'
import { table } from '../ui/table.ts'
import { inTime } from '../ui/time.ts'

interface ServiceStatus {
  readonly service: ServiceKind
  readonly generation?: number
  readonly expires?: string
}
const FILE_MAX = 1024 * 1024

/** A credential that cannot be read counts as none: the agent, too, would join again. */
async function credentialOf(dataDir: string, service: ServiceKind) {
  const text = await readPrivate(path.join(dataDir, service, 'identity.json'), FILE_MAX)
  if (text === undefined) return undefined
  try {
    return holdIdentity(service, JSON.parse(text) as StoredIdentity)
  } catch {
    return undefined
  }
}

async function runningPid(dataDir: string): Promise<number | undefined> {
  const text = await readFile(path.join(dataDir, 'agent.lock'), 'utf8').catch(() => '{}')
  try {
    const { pid } = JSON.parse(text) as { pid?: unknown }
    if (typeof pid !== 'number' || pid < 1) return undefined
    process.kill(pid, 0)
    return pid
  } catch {
    return undefined
  }
}

export async function agentStatus(
  cli: Cli,
  options: { readonly config: string; readonly json?: true | undefined },
): Promise<number> {
  const text = await readInput(cli, options.config, LIMITS.configFile.value)
  const config = parseAgentConfig(text, { hostname: hostname() })
  const pid = await runningPid(config.dataDir)
  let agentId: string | undefined
  const services: ServiceStatus[] = []
  for (const service of enabledServices(config)) {
    const held = await credentialOf(config.dataDir, service)
    agentId ??= held?.agentId
    services.push({
      service,
      ...(held && {
        generation: held.stored.credentials.generation,
        expires: iso(held.expires),
      }),
    })
  }
  const facts = {
    node: config.nodeName,
    agent_id: agentId,
    pid,
    data_dir: config.dataDir,
    proxy_server: config.proxyServer,
    services,
  }
  if (options.json) cli.out(JSON.stringify(facts, null, 2))
  else {
    cli.out(`node      ${facts.node}${agentId === undefined ? '' : ` (${agentId})`}`)
    cli.out(`agent     ${pid === undefined ? 'not running' : `running, pid ${pid}`}`)
    cli.out(`cluster   ${facts.proxy_server}`)
    cli.out(`data      ${facts.data_dir}`)
    cli.out('')
    const rows = services.map((s) => [
      s.service,
      s.expires === undefined ? 'not joined' : `generation ${s.generation}`,
      s.expires === undefined ? '' : inTime(Date.parse(s.expires), cli.clock.now()),
    ])
    const paint = painter(cli.stdout, cli.env.noColor)
    for (const line of table(['SERVICE', 'IDENTITY', 'EXPIRES'], rows, paint)) cli.out(line)
  }
  return pid === undefined ? 1 : 0
}
