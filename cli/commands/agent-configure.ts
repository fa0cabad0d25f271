/** `postern agent configure`: prints a configuration file that `agent start` accepts, or says what is wrong with the options. */
import { hostname } from 'node:os'
import { stringify } from 'yaml'
import { parseAgentConfig } from '../../agent/config.ts'
import { parseSystemRole } from '../../core/domain/service.ts'
import type { Cli } from '../cli.ts'
import { labelWords, words } from '../host.ts'
import { usage } from '../ui/report.ts'

export interface AgentConfigureOptions {
  readonly proxyServer: string
  readonly authToken?: string | undefined
  readonly joinMethod?: string | undefined
  readonly tokenName?: string | undefined
  readonly caPin?: readonly string[] | undefined
  readonly type: string
  readonly nodename?: string | undefined
  readonly dataDir?: string | undefined
  readonly labels?: string | undefined
  readonly app?: readonly string[] | undefined
}

const appOf = (text: string): { name: string; uri: string } => {
  const at = text.indexOf('=')
  if (at < 1) throw usage(`--app: "${text}" is not of the form name=uri`)
  return { name: text.slice(0, at), uri: text.slice(at + 1) }
}

function joinParams({ joinMethod, tokenName, authToken }: AgentConfigureOptions) {
  if (joinMethod === undefined && tokenName === undefined) return undefined
  if (joinMethod === undefined || tokenName === undefined)
    throw usage('--join-method and --token-name belong together')
  if (authToken !== undefined)
    throw usage('--auth-token is a way to join of its own: leave it out, or --join-method')
  return { method: joinMethod, token_name: tokenName }
}

export async function agentConfigure(cli: Cli, options: AgentConfigureOptions): Promise<void> {
  const roles = words(options.type).map((word) => {
    const role = parseSystemRole(word)
    if (role === 'Node' || role === 'App') return role
    throw usage(
      `--type: "${word}" is no service that an agent of this version runs`,
      'use node, app',
    )
  })
  const apps = (options.app ?? []).map(appOf)
  const app = roles.includes('App') || apps.length > 0
  const labels =
    options.labels === undefined ? undefined : labelWords(words(options.labels), '--labels')
  const text = stringify({
    version: 'v1',
    postern: {
      nodename: options.nodename,
      data_dir: options.dataDir,
      proxy_server: options.proxyServer,
      auth_token: options.authToken,
      join_params: joinParams(options),
      ca_pin: options.caPin && [...options.caPin],
    },
    ...(roles.includes('Node') && { ssh_service: { enabled: true, labels } }),
    ...(app && { app_service: { enabled: true, apps } }),
  })
  // The agent's own reader judges it here, before anybody carries it to a machine.
  parseAgentConfig(text, { hostname: hostname() })
  cli.stdout.write(text)
}
