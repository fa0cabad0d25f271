/**
 * `npm run bench:pgbench`: pgbench with 20 clients, straight to a PostgreSQL of its own and through everything: `postern proxy app`, a proxy,
 * the tunnel, an agent with a tcp app in front of the server, each a process of its own, interleaved. PGBENCH_SECONDS (default 8) of a run,
 * BENCH_ROUNDS (default 5).
 */
import { execFile, execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { BIN, lineOf } from '../test/integration/cli/postern.ts'
import { missing, peer } from '../test/support/peers.ts'
import { missingPostgres, startPostgres } from '../test/support/postgres.ts'
import { served } from '../test/support/served.ts'
import { compare, save, type Row } from './support/rounds.ts'

const CLIENTS = 20
/** Rows of the branch table are one for each: with fewer than clients the locks are what is measured. */
const SCALE = 50
const SECONDS = Number(process.env['PGBENCH_SECONDS'] ?? 8)
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 5)
const at = (port: number) => ['-h', '127.0.0.1', '-p', String(port), '-U', 'postgres']

/** A figure of pgbench's report, without the time that connecting took. */
function figureOf(report: string, pattern: RegExp): number {
  const found = pattern.exec(report)?.[1]
  if (found === undefined || !/number of failed transactions: 0 /.test(report))
    throw new Error(`pgbench failed\n${report}`)
  return Number(found)
}
async function pgbench(port: number, args: readonly string[], pattern: RegExp): Promise<number> {
  const all = [...at(port), '-n', '-T', String(SECONDS), ...args, 'postgres']
  return figureOf((await promisify(execFile)(peer('pgbench'), all)).stdout, pattern)
}

if (missing('pgbench') || missingPostgres()) process.exit(1)
const postgres = await startPostgres()
const cluster = await served()
try {
  execFileSync(
    peer('pgbench'),
    [...at(postgres.port), '-i', '-q', '-s', String(SCALE), 'postgres'],
    {
      stdio: 'ignore',
    },
  )
  const proxy = await cluster.proxy('proxy-1')
  await cluster.knows([proxy.address])
  await cluster.agent('db-1', {
    type: 'app',
    services: {
      app_service: {
        enabled: true,
        apps: [{ name: 'pg', uri: `tcp://127.0.0.1:${postgres.port}` }],
      },
    },
  })
  const listener = cluster.launch(process.execPath, [
    ...[BIN, 'proxy', 'app', 'pg', '--profile', join(cluster.dataDir, 'profile')],
  ])
  const lines = createInterface(listener.stdout ?? process.stdin)
  const through = Number((await lineOf(lines, /^127\.0\.0\.1:\d+$/)).split(':')[1])
  const TPS = /tps = ([\d.]+) \(without initial/
  const row = (figure: string, unit: string, target: string, args: string[], pattern: RegExp) =>
    compare(
      figure,
      unit,
      target,
      [
        { name: 'through', run: () => pgbench(through, args, pattern) },
        { name: 'direct', run: () => pgbench(postgres.port, args, pattern) },
      ],
      ROUNDS,
    )
  const twenty = ['-c', String(CLIENTS), '-j', '2']
  const rows: Row[] = [
    await row('pgbench -c 20, tpcb-like', 'tps', '≥ 0.6 of direct', twenty, TPS),
    await row('pgbench -c 20, select only', 'tps', '≥ 0.6 of direct', ['-S', ...twenty], TPS),
    await row(
      'pgbench -c 1, select only, latency',
      'ms',
      'stated',
      ['-S'],
      /latency average = ([\d.]+) ms/,
    ),
  ]
  save('pgbench', rows)
} finally {
  await cluster.close()
  await postgres.stop()
}
process.exit(0)
