/** A PostgreSQL of its own for one test: a fresh cluster in a temporary directory, on a free port, gone afterwards. */
import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const ROOT = '/usr/lib/postgresql'

/** The directory of its programs, or undefined when it is not installed. */
function postgresPrograms(): string | undefined {
  const versions = existsSync(ROOT) ? readdirSync(ROOT).sort() : []
  const found = versions
    .map((v) => join(ROOT, v, 'bin'))
    .filter((d) => existsSync(join(d, 'initdb')))
  return found.at(-1)
}

/** As `missing()` of peers.ts: true, with one loud line, when there is no server; with CI set that is a failure. */
export function missingPostgres(): boolean {
  if (postgresPrograms() !== undefined) return false
  const line = 'SKIPPED: the PostgreSQL server is not installed (npm run test:setup)'
  if (process.env['CI'] !== undefined) throw new Error(line)
  process.stderr.write(`${line}\n`)
  return true
}

export interface Postgres {
  readonly port: number
  stop(): Promise<void>
}

/** It does not run as root: then it becomes, in the same process, the user that its package made. */
const asPostgres = (program: string, args: readonly string[]): [string, readonly string[]] =>
  process.getuid?.() === 0
    ? ['setpriv', ['--reuid=postgres', '--regid=postgres', '--init-groups', program, ...args]]
    : [program, args]

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

export async function startPostgres(): Promise<Postgres> {
  const bin = postgresPrograms() ?? ''
  const dir = mkdtempSync(join(tmpdir(), 'postern-pg-'))
  chmodSync(dir, 0o777)
  const data = join(dir, 'data')
  const [initdb, initArgs] = asPostgres(join(bin, 'initdb'), [
    ...['-D', data, '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--no-sync'],
  ])
  execFileSync(initdb, initArgs, { stdio: 'ignore' })
  const port = await freePort()
  const [program, args] = asPostgres(join(bin, 'postgres'), [
    ...['-D', data, '-p', String(port), '-k', dir, '-c', 'listen_addresses=127.0.0.1'],
    ...['-c', 'fsync=off'],
  ])
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const exited = new Promise<void>((resolve) => child.on('close', () => resolve()))
  await new Promise<void>((resolve, reject) => {
    createInterface(child.stderr).on('line', (line) => {
      if (line.includes('ready to accept connections')) resolve()
    })
    child.on('close', (code) => reject(new Error(`postgres ended with ${code}`)))
  })
  return {
    port,
    async stop() {
      // A fast shutdown: sessions that are still there are ended.
      child.kill('SIGINT')
      await exited
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
