/** docs/performance.md, made from bench/results: what was measured, on what, against what, and whether it reaches the target. */
import { existsSync, readFileSync } from 'node:fs'
import { NOTES } from './performance-notes.ts'

interface Row {
  readonly figure: string
  readonly unit?: string
  readonly medians?: Readonly<Record<string, number>>
  readonly ratio?: number
  readonly value?: number
  readonly values?: readonly number[]
  readonly target?: string
  readonly toSsh?: number
}
interface Results {
  readonly machine: string
  readonly date: string
  readonly rows: readonly Row[]
}

const PARTS = [
  [
    'tunnel',
    'The tunnel',
    'user → proxy → agent → target in separate processes on loopback, TLS 1.3 on the tunnel, plain TCP at both ends',
  ],
  [
    'distance',
    'Distance',
    'the tunnel between proxy and agent through a relay that delays each way by 50 ms',
  ],
  [
    'resume',
    'Resumable streams',
    'what the records of a resumable stream cost, over two sessions joined by TCP on loopback; nothing is encrypted, so the ratio is the worst that it can be',
  ],
  [
    'faults',
    'Faults',
    'how soon processes that stand still (SIGSTOP) are noticed, and the longest pause that a user sees in an echo at full speed when the tunnels under it break: two proxies, an agent with a tunnel to each, `postern proxy app`, real processes, rounds interleaved. How many cases is in brackets',
  ],
  [
    'pgbench',
    'A database',
    '`pgbench -c 20` straight to PostgreSQL and through `postern proxy app`, proxy, tunnel and agent (a tcp app: the database service does not exist yet), interleaved',
  ],
  [
    'ssh',
    'ssh through everything',
    'stock ssh, ProxyCommand, proxy, tunnel, agent in a process of its own, against `ssh -J` through two stock sshd',
  ],
  [
    'joins',
    'Joining',
    'challenge and join, file signer, embedded store on disk with synced writes',
  ],
  [
    'join-methods',
    'Joining, by method',
    'challenge and join at the control plane, methods in turns; STS and issuers answer on loopback over HTTPS, from the same process. DynamoDB requests of the embedded store are those of the cloud',
  ],
  ['certs', 'Certificates', 'one core, against raw `crypto.sign`'],
  ['decide', 'Decisions', 'decide() on one core, the last of the roles allows it'],
  [
    'lambdas',
    'Functions',
    'size of each bundle, and the time a bare process takes to import it; a machine that does other things makes the times longer',
  ],
  ['rss', 'Memory', 'resident memory of each process'],
  [
    'storm',
    'Ten thousand agents',
    'one proxy process, agents with an identity and a handshake each in four others on the same machine, the proxy killed with -9 and started again',
  ],
  [
    'cores',
    'Processors',
    'one proxy as one process and as two workers, four agents, four users, all on the same machine; each process of the proxy is held to a part of a processor where control groups allow it',
  ],
] as const

const short = (n: number): string =>
  Math.abs(n) >= 100 ? n.toFixed(0) : Number(n.toPrecision(3)).toString()

function measured(row: Row): string {
  if (row.medians)
    return Object.entries(row.medians)
      .map(([name, v]) => `${name} ${short(v)}`)
      .join(', ')
  const values = row.values ?? (row.value === undefined ? [] : [row.value])
  return values.map(short).join(', ')
}

function ratio(row: Row): string {
  if (row.ratio === undefined) return ''
  return row.toSsh === undefined || Number.isNaN(row.toSsh)
    ? row.ratio.toFixed(2)
    : `${row.ratio.toFixed(2)} (to ssh -R ${row.toSsh.toFixed(2)})`
}

function section([name, title, how]: (typeof PARTS)[number]): string {
  const path = `bench/results/${name}.json`
  if (!existsSync(path)) return ''
  const results = JSON.parse(readFileSync(path, 'utf8')) as Results
  const rows = results.rows.map(
    (r) => `| ${r.figure} | ${measured(r)} ${r.unit ?? ''} | ${ratio(r)} | ${r.target ?? ''} |`,
  )
  return `## ${title}

\`npm run bench:${name}\`: ${how}. ${results.machine}; ${results.date}.

| figure | medians | ratio | target |
|---|---|---|---|
${rows.join('\n')}
`
}

export function performancePage(): string {
  const intro = `# Performance

Generated from \`bench/results\` by \`npm run docs\`. \`npm run bench\` measures everything. Only ratios against a baseline interleaved in the same run mean
something: absolute figures are those of a small shared machine. The ratio is the first median over the second.
`
  return [intro, ...PARTS.map(section).filter(Boolean), NOTES].join('\n')
}
