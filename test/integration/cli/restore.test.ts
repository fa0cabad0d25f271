/**
 * The drill of docs/operations/backup.md with a real cluster and a real agent: a backup, a renewal after it, the table lost, restored into
 * an empty one; the agent, which knows more than the table, goes on as if nothing had been.
 */
import { cp, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createClusterFinder } from '../../../agent/cluster.ts'
import { openIdentityStore } from '../../../agent/identity/store.ts'
import { renewOnce } from '../../../agent/renew.ts'
import { systemClock } from '../../../core/clock.ts'
import { silentLog } from '../../../core/log.ts'
import { systemRandom } from '../../../core/random.ts'
import { apiClient } from '../../../net/http-client.ts'
import { missing } from '../../support/peers.ts'
import {
  BIN,
  finish,
  lineOf,
  postern,
  shell,
  start,
  temporaryHome,
  up,
  type Home,
} from './postern.ts'

const LOGIN = userInfo().username

describe.skipIf(missing('ssh'))('backup and restore', () => {
  let home: Home
  let listen: string
  let agent: { kill(): Promise<unknown> } | undefined
  let running: Awaited<ReturnType<typeof up>> | undefined
  const dir = (name: string) => join(home.dir, name)
  const run = (...args: string[]) => postern(args, { cwd: home.dir, env: home.env })
  const done = async (...args: string[]) => {
    const result = await run(...args)
    expect(result, args.join(' ')).toMatchObject({ code: 0 })
    return result.stdout
  }
  const serve = async (data: string) => {
    running = await up(home, ['--no-agent', '--listen', listen, '--data-dir', dir(data)])
  }
  const stop = async () => {
    await running?.stop()
    running = undefined
  }
  async function startAgent(): Promise<void> {
    const child = start(process.execPath, [BIN, 'agent', 'start', '-c', dir('agent.yaml')], {
      cwd: home.dir,
      env: home.env,
    })
    const log = createInterface(child.stderr ?? process.stdin)
    const ended = finish(child)
    agent = {
      async kill() {
        child.kill('SIGTERM')
        await ended
      },
    }
    await lineOf(log, /tunnel\.connected/)
  }
  const ssh = (data: string) =>
    shell(`ssh -F '${dir(data)}/profile/ssh_config' ${LOGIN}@web-1 'echo "$((6 * 7))"'`, {
      cwd: home.dir,
      env: home.env,
    })
  /** One renewal by the agent's own code, while its process is away. */
  async function renew(pin: string): Promise<number> {
    const store = await openIdentityStore(dir('agent'), systemRandom)
    const held = await store.load('ssh')
    if (!held) throw new Error('the agent has no identity')
    const { signal } = new AbortController()
    const common = { clock: systemClock, random: systemRandom }
    const cluster = await createClusterFinder({
      ...common,
      dataDir: dir('agent'),
      proxyServer: `https://${listen}`,
      caPins: [pin],
      httpsProxy: () => undefined,
      learnt: { cas: undefined, takeCas: () => Promise.resolve() },
      log: silentLog,
    }).find(signal)
    const api = apiClient({ ...common, baseUrl: cluster.api, trust: cluster.trust })
    try {
      const next = await renewOnce({ ...common, held, cluster, api, store, signal })
      return next.stored.credentials.generation
    } finally {
      api.close()
    }
  }

  beforeAll(async () => {
    home = await temporaryHome()
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    listen = `127.0.0.1:${(server.address() as AddressInfo).port}`
    await new Promise((resolve) => server.close(resolve))
    await serve('one')
  })
  afterAll(async () => {
    await agent?.kill()
    await stop()
    await home?.remove()
  })

  test('an agent goes on after a restore, though it renewed since the backup', async () => {
    const minted = JSON.parse(
      await done('tokens', 'add', '--type=node', '--json', '--data-dir', dir('one')),
    ) as { secret: string; ca_pins: [string] }
    const [pin] = minted.ca_pins
    await writeFile(
      dir('agent.yaml'),
      `version: v1\npostern: { nodename: web-1, data_dir: ${dir('agent')}, proxy_server: '${listen}', auth_token: ${minted.secret}, ca_pin: '${pin}' }\nssh_service: { enabled: true }\n`,
    )
    await startAgent()
    expect(await ssh('one')).toMatchObject({ stdout: '42\n', code: 0 })

    const live = await run('backup', 'cluster.jsonl', '--data-dir', dir('one'))
    expect(live.stderr).toContain('stop postern up')
    await agent?.kill()
    await stop()
    expect(await done('backup', 'cluster.jsonl', '--data-dir', dir('one'))).toMatch(/\d+ items/)
    expect((await stat(dir('cluster.jsonl'))).mode & 0o777).toBe(0o600)
    const text = await readFile(dir('cluster.jsonl'), 'utf8')
    expect(text).not.toContain(minted.secret)
    expect(text).not.toMatch(/PRIVATE KEY|pst_(key|join)_/)

    await serve('one')
    expect(await renew(pin)).toBe(2)
    expect(await renew(pin)).toBe(3)
    await stop()

    // The table is lost. The CA keys were kept apart, as docs/operations/backup.md says.
    await cp(join(dir('one'), 'ca'), join(dir('two'), 'ca'), { recursive: true })
    const said = await done('restore', 'cluster.jsonl', '--data-dir', dir('two'))
    expect(said).toContain('items of postern.internal')
    const again = await run('restore', 'cluster.jsonl', '--data-dir', dir('two'))
    expect(again.stderr).toMatch(
      /is not empty: it holds the cluster \S+\nhint: Name a new --data-dir/,
    )
    await serve('two')
    expect(await renew(pin)).toBe(4)
    await startAgent()
    expect(await ssh('two')).toMatchObject({ stdout: '42\n', code: 0 })
    expect(await done('get', 'locks', '--data-dir', dir('two'), '--json')).not.toContain('copied')
    expect(await done('events', '--data-dir', dir('two'), '--json')).toContain('store.restore')
  }, 180_000)
})
