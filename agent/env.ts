/** What the agent takes from its environment: the proxy for outgoing connections, as every other program reads it. */
export type Env = Readonly<Record<string, string | undefined>>

/** The address in HTTPS_PROXY unless NO_PROXY (a list of hosts and domains, or `*`) covers the server. */
export function httpsProxyFor(server: string, env: Env): string | undefined {
  const proxy = env['HTTPS_PROXY'] ?? env['https_proxy']
  if (proxy === undefined || proxy === '') return undefined
  const host = new URL(server).hostname
  const direct = (env['NO_PROXY'] ?? env['no_proxy'] ?? '').split(',').map((part) => part.trim())
  const covered = direct.some(
    (entry) =>
      entry === '*' ||
      (entry !== '' && (host === entry || host.endsWith(`.${entry.replace(/^\*?\./, '')}`))),
  )
  return covered ? undefined : proxy
}
