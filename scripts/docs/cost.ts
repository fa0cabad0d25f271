/** docs/cost.md: counts of bench/results/cost.json (`npm run cost`) times the dated prices of prices.ts. */
import { readFileSync } from 'node:fs'
import { LIMITS } from '../../core/limits.ts'
import { PRICES, SEEN } from './prices.ts'

interface Cost {
  readonly calls: number
  readonly readUnits: number
  readonly writeUnits: number
  readonly writeRequests: number
  readonly signs: number
}
export interface CostResults {
  readonly operations: Readonly<Record<string, Cost>>
  readonly bytes: { readonly stamp: number; readonly item: number }
}
const NOTHING: Cost = { calls: 0, readUnits: 0, writeUnits: 0, writeRequests: 0, signs: 0 }

/** What is not counted: how long a call runs, and what AWS itself logs of it. */
const ASSUMED = {
  lambdaSeconds: 0.05,
  lambdaGb: 0.5,
  /** Access log of the API; the functions log failures only. */
  logBytesPerCall: 300,
  /** A ping and its answer on an idle tunnel, with TLS, TCP and IP, proxy to agent. */
  pingBytes: 140,
  /** TLS, WebSocket, frame, TCP and IP around a pushed stamp. */
  pushOverhead: 110,
  itemsPerAgent: 6,
} as const

export type Profile = 'small' | 'standard'
export interface Month {
  /** Of the control plane, by service. */
  readonly plane: Readonly<Record<string, number>>
  readonly proxies: Readonly<Record<string, number>>
  readonly planeTotal: number
  readonly total: number
}

const times = (cost: Cost, n: number): Cost => ({
  calls: cost.calls * n,
  readUnits: cost.readUnits * n,
  writeUnits: cost.writeUnits * n,
  writeRequests: cost.writeRequests * n,
  signs: cost.signs * n,
})
const plus = (...costs: readonly Cost[]): Cost =>
  costs.reduce(
    (a, b) => ({
      calls: a.calls + b.calls,
      readUnits: a.readUnits + b.readUnits,
      writeUnits: a.writeUnits + b.writeUnits,
      writeRequests: a.writeRequests + b.writeRequests,
      signs: a.signs + b.signs,
    }),
    NOTHING,
  )
const sum = (parts: Readonly<Record<string, number>>): number =>
  Object.values(parts).reduce((a, b) => a + b, 0)

const table = (cost: Cost): number =>
  cost.readUnits * PRICES.dynamoRead + cost.writeUnits * PRICES.dynamoWrite
const callPrice =
  PRICES.lambdaRequest + ASSUMED.lambdaSeconds * ASSUMED.lambdaGb * PRICES.lambdaGbSecond

/** By service, without what is paid by the month. */
const priced = (cost: Cost) => ({
  KMS: cost.signs * PRICES.kmsSign,
  DynamoDB: table(cost),
  Lambda: cost.calls * callPrice,
  'HTTP API': cost.calls * PRICES.httpApi,
  Logs: (cost.calls * ASSUMED.logBytesPerCall * PRICES.logsGb) / 1e9,
})

/** Signing keys of host, user and policy, and a key for sealing. That of JWTs is made by whoever wants it. */
export const KMS_KEYS = 4
const perHour = (ms: number): number => 3_600_000 / ms

export function idleMonth(results: CostResults, agents: number, profile: Profile): Month {
  const { operations, bytes } = results
  const hours = PRICES.hoursPerMonth
  const of = (name: string): Cost => operations[name] ?? NOTHING
  const proxies = profile === 'small' ? 1 : 2
  const renewals = (agents * hours) / (LIMITS.agentCertTtl.value / 2 / 3_600_000)
  const stamps = perHour(LIMITS.policyFreshness.value) * hours
  const used = plus(
    times(of('renewal'), renewals),
    times(of('freshness'), stamps * proxies),
    // Calls are rarer than LIMITS.caRefresh: each finds what its function knows of the CAs too old.
    times(of('CAs read again'), renewals + stamps * proxies),
    // Whoever asks first in LIMITS.policyFreshness has it signed, from the newest document's head, and stored.
    times({ ...NOTHING, readUnits: 2, signs: 1, writeUnits: 1, writeRequests: 1 }, stamps),
  )
  const plane = priced(used)
  const storage = (agents * ASSUMED.itemsPerAgent * bytes.item * PRICES.dynamoGb) / 1e9
  const beats = plus(
    times(of('lease'), perHour(LIMITS.leaseRenew.value) * hours * proxies),
    times(of('policy version'), perHour(LIMITS.policyPoll.value) * hours * proxies),
  )
  const tasks = profile === 'small' ? 1 : 1 + PRICES.fargateSpot
  const task = 0.25 * PRICES.fargateVcpu + (profile === 'small' ? 0.5 : 1) * PRICES.fargateGb
  const stampBytes = (bytes.stamp + ASSUMED.pushOverhead) * stamps
  const pingBytes = perHour(LIMITS.pingIdle.value) * hours * ASSUMED.pingBytes
  const tunnels = proxies === 1 ? 1 : 2
  const egress = (agents * tunnels * (stampBytes + pingBytes)) / 1e9
  const groups = {
    plane: {
      ...plane,
      KMS: plane.KMS + KMS_KEYS * PRICES.kmsKey,
      DynamoDB: plane.DynamoDB + storage,
    },
    proxies: {
      Fargate: tasks * task * hours,
      'Public IPv4': (profile === 'small' ? 1 : 4) * PRICES.ipv4 * hours,
      'Load balancer':
        profile === 'small'
          ? 0
          : (PRICES.nlbHour + Math.max(1, (agents * tunnels) / 3000) * PRICES.nlbUnit) * hours,
      'DynamoDB (leases, policy version)': table(beats),
      'Route 53': PRICES.zone,
      'Data out': Math.max(0, egress - PRICES.egressFreeGb) * PRICES.egressGb,
    },
  }
  return {
    ...groups,
    planeTotal: sum(groups.plane),
    total: sum(groups.plane) + sum(groups.proxies),
  }
}

const usd = (value: number): string =>
  value === 0 ? '0' : value < 0.005 ? '<0.01' : value.toFixed(2)
const row = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`

export const readResults = (): CostResults =>
  JSON.parse(readFileSync('bench/results/cost.json', 'utf8')) as CostResults

export const SIZES = [10, 1_000, 10_000] as const

function monthTable(results: CostResults, profile: Profile): string {
  const months = SIZES.map((agents) => idleMonth(results, agents, profile))
  const line = (name: string, of: (month: Month) => number) =>
    row([name, ...months.map((month) => usd(of(month)))])
  const [first] = months
  return [
    row([profile, ...SIZES.map((n) => `${n.toLocaleString('en')} agents`)]),
    '|---|---|---|---|',
    ...Object.keys(first?.plane ?? {}).map((name) => line(name, (m) => m.plane[name] ?? 0)),
    line('**control plane**', (m) => m.planeTotal),
    ...Object.keys(first?.proxies ?? {}).map((name) => line(name, (m) => m.proxies[name] ?? 0)),
    line('**all in**', (m) => m.total),
  ].join('\n')
}

export function costPage(): string {
  const results = readResults()
  const { operations } = results
  const session = plus(operations['route'] ?? NOTHING, operations['session events'] ?? NOTHING)
  const shown: readonly (readonly [string, Cost])[] = [
    ...Object.entries(operations),
    ['**a session** (route and its events)', session],
  ]
  return `# Costs

Generated by \`npm run docs\` from \`bench/results/cost.json\`, which \`npm run cost\` counts on the real code, and from the price table in \`scripts/docs/prices.ts\`
(${PRICES.region}, [compared](#prices) on ${PRICES.read}; USD without tax; no free tier but the first ${PRICES.egressFreeGb} GB of data out).

## An idle month

Agents with one ssh service that nobody uses: they keep their tunnels, renew twice a day, and write nothing in between.

${monthTable(results, 'small')}

${monthTable(results, 'standard')}

\`small\` is one proxy without a load balancer; \`standard\` two proxies, the second one on Spot, behind a network load balancer, and two tunnels for each agent. With many agents most of it is data out: a
stamp of ${results.bytes.stamp} bytes every ${LIMITS.policyFreshness.value / 1000} s and a ping every ${LIMITS.pingIdle.value / 1000} s to each.

## Counted

| | HTTP API requests | read units | write units | write requests | KMS signatures | USD for 1,000 |
|---|---|---|---|---|---|---|
${shown
  .map(([name, c]) =>
    row([
      name,
      c.calls,
      c.readUnits,
      c.writeUnits,
      c.writeRequests,
      c.signs,
      (1000 * sum(priced(c))).toFixed(3),
    ]),
  )
  .join('\n')}

Each HTTP API request is one invocation of a function. The rows of the CAs are read by the first call after ${LIMITS.caRefresh.value / 1000} s, and are in no other row. A join is challenge and join of one service; \`announce\` follows it. Units are DynamoDB's: a write per KiB, twice in a transaction, once more for
an item in an index. An idle agent costs no write in an hour (\`test/integration/aws/cost.test.ts\` runs an hour of a real proxy on a hand clock); a proxy writes its lease ${perHour(LIMITS.leaseRenew.value)} times and reads the policy
version ${perHour(LIMITS.policyPoll.value)} times.

## Not counted but assumed

${ASSUMED.lambdaSeconds * 1000} ms at ${ASSUMED.lambdaGb * 1024} MB for an invocation; ${ASSUMED.logBytesPerCall} bytes of logs for one; ${ASSUMED.pingBytes} bytes of data out for a ping; KMS keys: ${KMS_KEYS}; a load balancer unit for 3,000 TLS
connections. Not in the sums: sessions' own data, recordings, alarms (10 are free), the archive in S3, keys of a rotation in progress, cross-zone data.

## Prices

USD in ${PRICES.region}. AWS's price list itself was not within reach when they were compared, on ${PRICES.read}: before you rely on a sum, hold the larger ones against https://aws.amazon.com/SERVICE/pricing/.

| price | USD | compared with |
|---|---|---|
${SEEN.map((one) => row(one)).join('\n')}
`
}
