// kill -9 of the proxy's process in the middle of what people do, with the programs that people use: none of it ends.
import { spawn, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, watch } from 'node:fs'
import { open, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LIMITS } from '../../../core/limits.ts'
import { missing, peer } from '../../support/peers.ts'
import { missingPostgres, startPostgres, type Postgres } from '../../support/postgres.ts'
import {
  BIN,
  finish,
  lineOf,
  postern,
  start,
  temporaryHome,
  up,
  type Home,
  type RunningUp,
} from '../cli/postern.ts'

// POSTERN_TEST_MEGABYTES=1000 for the long run.
const megabytes = Number(process.env['POSTERN_TEST_MEGABYTES'] ?? 24)
const NODE = 'web-1'

describe.skipIf(missing('ssh', 'scp', 'psql') || missingPostgres())('kill -9 of the proxy', () => {
  let home: Home
  let running: RunningUp
  let postgres: Postgres
  let config: string
  const children: ChildProcess[] = []
  const agentLogs: Interface[] = []
  const run = (...args: string[]) => postern(args, { cwd: home.dir, env: home.env })
  const launch = (command: string, args: readonly string[]): ChildProcess => {
    const child = start(command, args, { cwd: home.dir, env: home.env })
    children.push(child)
    return child
  }

  /** Control plane and proxy die without a word and come back, with their files, at the same address; so do the agents. */
  async function killAndRestart(whileDead?: () => Promise<void>): Promise<void> {
    const listen = new URL(running.origin).host
    const back = agentLogs.map((log) => lineOf(log, /tunnel\.connected/))
    await running.kill()
    await whileDead?.()
    running = await up(home, ['--no-agent', '--listen', listen])
    await Promise.all(back)
  }

  async function startAgent(name: string, type: string, more: string[]): Promise<void> {
    const minted = await run('tokens', 'add', `--type=${type}`, '--json')
    const token = JSON.parse(minted.stdout) as { secret: string; ca_pins: string[] }
    await writeFile(join(home.dir, `${name}.token`), token.secret, { mode: 0o600 })
    const made = await run(
      ...['agent', 'configure', '--type', type, '--nodename', name, ...more],
      ...['--proxy-server', new URL(running.origin).host, '--data-dir', join(home.dir, name)],
      ...['--auth-token', join(home.dir, `${name}.token`)],
      ...['--ca-pin', token.ca_pins[0] ?? ''],
    )
    await writeFile(join(home.dir, `${name}.yaml`), made.stdout)
    const agent = launch(process.execPath, [BIN, 'agent', 'start', '-c', `${name}.yaml`])
    const log = createInterface(agent.stderr ?? process.stdin)
    agentLogs.push(log)
    await Promise.all([lineOf(log, /tunnel\.connected/), lineOf(log, /announce\.done/)])
  }

  beforeAll(async () => {
    home = await temporaryHome()
    ;[postgres, running] = await Promise.all([
      startPostgres(),
      up(home, ['--no-agent', '--listen', '127.0.0.1:0']),
    ])
    await Promise.all([
      startAgent(NODE, 'node', []),
      startAgent('db-1', 'app', ['--app', `pg=tcp://127.0.0.1:${postgres.port}`]),
    ])
    config = join(home.dir, 'postern-data', 'ssh_config')
  })
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL')
    await running.stop()
    await postgres.stop()
    await home.remove()
  })

  test(`in the middle of an scp of ${megabytes} MB: the copy is the original`, async () => {
    const from = join(home.dir, 'original')
    const to = join(home.dir, 'copy')
    await randomFile(from, megabytes)
    // Half of the time that it takes is after the kill: the limit is in kbit/s.
    const limit = String(megabytes * 2000)
    const copy = finish(launch('scp', ['-F', config, '-l', limit, from, `${NODE}:${to}`]))
    await grown(home.dir, to, (megabytes * 1_000_000) / 3)
    await killAndRestart(async () => {
      expect((await stat(to)).size).toBeLessThan(megabytes * 1_000_000)
    })
    expect(await copy).toMatchObject({ code: 0, stderr: '' })
    expect(await md5(to)).toBe(await md5(from))
  }, 120_000)

  test('under an interactive shell: it keeps its state', async () => {
    const shell = launch('ssh', ['-F', config, '-tt', NODE])
    const lines = createInterface(shell.stdout ?? process.stdin)
    const first = lineOf(lines, /^before=41 pid=\d+/)
    shell.stdin?.write('X=41; cd /usr; echo "before=$X pid=$$"\n')
    const pid = /pid=(\d+)/.exec(await first)?.[1]
    await killAndRestart()
    const second = lineOf(lines, /^after=\d+/)
    shell.stdin?.write('echo "after=$((X + 1)) $PWD pid=$$"; exit 7\n')
    expect(await second).toContain(`after=42 /usr pid=${pid}`)
    const code = await new Promise((resolve) => shell.on('close', resolve))
    expect(code).toBe(7)
  })

  test('under psql, through a port of proxy app: the same session answers, and all of a long answer', async () => {
    const proxy = launch(process.execPath, [BIN, 'proxy', 'app', 'pg'])
    const lines = createInterface(proxy.stdout ?? process.stdin)
    const port = (await lineOf(lines, /^127\.0\.0\.1:\d+$/)).split(':')[1] ?? ''
    const psql = spawn(
      peer('psql'),
      [...['-h', '127.0.0.1', '-p', port, '-U', 'postgres', '-qAtX', '-v', 'ON_ERROR_STOP=1']],
      { env: home.env },
    )
    children.push(psql)
    const answers = createInterface(psql.stdout)
    const first = lineOf(answers, /^pid \d+/)
    psql.stdin.write("create temp table t as select 41 as x; select 'pid ' || pg_backend_pid();\n")
    const pid = await first
    await killAndRestart()
    const second = lineOf(answers, /^again /)
    psql.stdin.write("select 'again ' || (x + 1) || ' pid ' || pg_backend_pid() from t;\n")
    expect(await second).toBe(`again 42 ${pid}`)

    // The same again in the middle of an answer of some 70 MB, which nobody can repeat for us.
    const hash = createHash('md5')
    let rows = 0
    let killed: Promise<void> | undefined
    const last = lineOf(answers, /^end$/)
    answers.on('line', (line) => {
      if (!/^\d+\t/.test(line)) return
      hash.update(`${line}\n`)
      rows += 1
      if (rows === 300_000) killed = killAndRestart()
    })
    psql.stdin.end(`copy (${BIG}) to stdout; select 'end';\n`)
    await last
    await killed
    const [direct, expected] = await finished(
      spawn(
        peer('psql'),
        [
          ...['-h', '127.0.0.1', '-p', String(postgres.port), '-U', 'postgres', '-qAtX'],
          '-c',
          `copy (${BIG}) to stdout`,
        ],
        { env: home.env },
      ),
    )
    expect([rows, hash.digest('hex')]).toEqual([1_500_000, expected])
    expect(direct).toBe(0)
  }, 120_000)

  test('of ssh too: what it started does not wait for a network that nobody needs', async () => {
    const shell = launch('ssh', ['-F', config, '-tt', NODE])
    const ready = lineOf(createInterface(shell.stdout ?? process.stdin), /^here=42/)
    shell.stdin?.write('X=42; echo "here=$X"\n')
    await ready
    const began = performance.now()
    // Its ProxyCommand has the same standard error: when that closes, both are gone.
    const gone = new Promise((resolve) => shell.on('close', resolve))
    await running.kill()
    shell.kill('SIGKILL')
    await gone
    expect(performance.now() - began).toBeLessThan(LIMITS.resumeWindow.value / 2)
  })
})

const BIG = 'select i, md5(i::text) from generate_series(1, 1500000) i'

async function finished(child: ChildProcess): Promise<[number | null, string]> {
  const hash = createHash('md5')
  child.stdout?.on('data', (bytes: Buffer) => hash.update(bytes))
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
  return [code, hash.digest('hex')]
}

async function md5(file: string): Promise<string> {
  const hash = createHash('md5')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}

async function randomFile(file: string, size: number): Promise<void> {
  const source = createReadStream('/dev/urandom', { end: size * 1_000_000 - 1 })
  const handle = await open(file, 'w')
  await pipeline(source, handle.createWriteStream())
}

/** Resolves when the file has so many bytes; told by the system, whenever it grows. */
async function grown(dir: string, file: string, bytes: number): Promise<void> {
  const watching = new AbortController()
  await new Promise<void>((resolve) => {
    const look = (): void =>
      void stat(file).then(
        ({ size }) => size >= bytes && resolve(),
        () => undefined,
      )
    watch(dir, { signal: watching.signal }, look)
    look()
  })
  watching.abort()
}
