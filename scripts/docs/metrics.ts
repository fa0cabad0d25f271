/** The page of the metrics table. */
import { METRICS, type MetricKind } from '../../core/metrics/table.ts'

const PARTS = [
  ['Every process', /^(postern_build|process_|nodejs_)/],
  ['Proxy', /^postern_proxy_/],
  ['Agent', /^postern_agent_/],
  ['Control plane, where it runs as a process', /^postern_api_/],
] as const

function section(title: string, names: RegExp): string {
  const rows = Object.entries<MetricKind>(METRICS)
    .filter(([name]) => names.test(name))
    .map(([name, { type, labels, help }]) => {
      const shown = labels.map((label) => `\`${label}\``).join(', ')
      return `| \`${name}\` | ${type} | ${shown} | ${help} |`
    })
  return `## ${title}

| metric | type | labels | meaning |
|---|---|---|---|
${rows.join('\n')}
`
}

export function metricsPage(): string {
  const intro = `# Metrics, health and logs

The tables are generated from \`core/metrics/table.ts\` by \`npm run docs\`.

Metrics are served as Prometheus text at \`/metrics\`, next to \`/healthz\` and \`/readyz\`, at a private address that is off until you name one:

| part | where to name it |
|---|---|
| agent | \`diag_addr: 127.0.0.1:3000\` in the [configuration](../agent-config.md); a port alone means loopback |
| \`postern up\` | \`--diag-addr 127.0.0.1:3081\` |
| a proxy alone | \`postern.diag_addr\` in its [file](proxies.md): one page for all workers, counters summed |
| a control plane alone | \`postern.diag_addr\` in its file: requests and their times |
| control plane in Lambda | CloudWatch has the requests, errors and durations of each function |

\`\`\`yaml
# prometheus.yml
scrape_configs:
  - job_name: postern
    static_configs: [{ targets: ['127.0.0.1:3081', '127.0.0.1:3000'] }]
rule_files: [alerts.yml]
\`\`\`

It is plain HTTP without a sign-in: whoever reaches the address reads how many tunnels there are and what fails, but no names and no secrets. Keep it on loopback
or a network of your monitoring; an agent that listens elsewhere says so in its log.

- \`/healthz\` is 200 while the process answers. Restart what does not.
- \`/readyz\` is 200 when new work may come. A proxy is ready with a lease and a policy, and not while it drains; an agent when every enabled service is online.
  A control plane alone is ready while the store answers. \`postern up\`, a proxy and a control plane answer both on their public address too, for load balancers, and say their state there and no more.

**Alerts.** [alerts.yml](alerts.yml) is a rules file to start from; \`promtool check rules alerts.yml\` accepts it.

**Logs.** \`log: { format: json }\` of an agent and \`--log-format json\` of \`postern up\` give one JSON object for each line. A stream has one id everywhere: the proxy's
\`proxy.stream_relayed\` and the agent's \`stream.admitted\` carry it as \`stream\`, and so does the audit event that starts the session (\`session.start\`, \`app.start\`); from there
\`session\` names the rest. \`connId\` is the tunnel that a user's stream came in by. The id in the proxy's log is what the client claimed; the agent's is verified.
`
  return [intro, ...PARTS.map(([title, names]) => section(title, names))].join('\n')
}
