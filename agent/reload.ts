/** What a reload may change, and what needs a new process. */
import { AppError } from '../core/errors.ts'
import type { AgentConfig } from './config.ts'

/** Throws ERR_CONFIG_INVALID naming the key that cannot change while the agent runs. */
export function checkReload(before: AgentConfig, next: AgentConfig): void {
  const fixed = {
    'postern.nodename': (c: AgentConfig) => c.nodeName,
    'postern.data_dir': (c: AgentConfig) => c.dataDir,
    'postern.proxy_server': (c: AgentConfig) => c.proxyServer,
    'postern.ca_pin': (c: AgentConfig) => c.caPins.join(),
    'postern.log': (c: AgentConfig) => JSON.stringify(c.log),
  }
  for (const [path, value] of Object.entries(fixed))
    if (value(before) !== value(next)) {
      const message = 'a change needs a restart of the agent'
      throw new AppError('ERR_CONFIG_INVALID', `${path}: ${message}`, {
        details: { issues: [{ path, message }] },
      })
    }
}
