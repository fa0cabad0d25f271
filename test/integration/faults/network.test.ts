// A bad network between three proxies and everybody else: what people do with stock clients goes on, and new connections work.
import type { ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BIN, finish, lineOf } from '../cli/postern.ts'
import { chaosRelay, type ChaosRelay } from '../../support/chaos-relay.ts'
import { missing, peer } from '../../support/peers.ts'
import { missingPostgres, startPostgres, type Postgres } from '../../support/postgres.ts'
import { served, type Part, type Served, type ServedProxy } from '../../support/served.ts'

// POSTERN_TEST_MEGABYTES=1000 for the long run.
const megabytes = Number(process.env['POSTERN_TEST_MEGABYTES'] ?? 16)
// ssh itself sends two megabytes in a round trip, and less before it knows the path.
const slowMegabytes = Math.max(2, megabytes / 100)
const MB = 1_000_000
const TIME = 120_000 + megabytes * 1_500

interface Way {
  readonly relay: ChaosRelay
  proxy: ServedProxy
}

async function md5(file: string): Promise<string> {
  const hash = createHash('md5')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}

describe.skipIf(missing('ssh', 'scp', 'psql') || missingPostgres())(
  'three proxies, each behind a bad network',
  () => {
    let cluster: Served
    let postgres: Postgres
    let agent: Part
    let shell: ChildProcess
    let said: Interface
    let psql: ChildProcess
    let rows: Interface
    let copies = 0
    const ways: Way[] = []

    const ssh = (...args: string[]): ChildProcess =>
      cluster.launch('ssh', ['-F', cluster.sshConfig, ...args])

    /** The way that most bytes took since `before`. */
    function busiest(before: readonly number[]): Way {
      const grown = ways.map((way, i) => ({ way, by: way.relay.passed - (before[i] ?? 0) }))
      const [most] = grown.sort((a, b) => b.by - a.by)
      if (!most) throw new Error('no way')
      return most.way
    }
    const counts = (): number[] => ways.map(({ relay }) => relay.passed)

    /** Copies the file there, with `fault` when about a third has passed, and holds that it arrived as it was. */
    async function copied(size: number, fault: (busy: Way) => void | Promise<void>): Promise<void> {
      const original = join(cluster.home.dir, `original-${size}`)
      const to = join(cluster.home.dir, `copy-${++copies}`)
      const before = counts()
      // Every byte passes a relay at least twice: from the user and to the agent. The first that has seen a third decides.
      const third = Promise.race(ways.map(({ relay }) => relay.after((size * MB) / 3)))
      const copy = finish(cluster.launch('scp', ['-F', cluster.sshConfig, original, `web-1:${to}`]))
      let struck = false
      const trouble = third.then(async () => {
        await fault(busiest(before))
        struck = true
      })
      // A copy that has ended passes no more bytes: what it said tells more than waiting for them.
      await Promise.race([trouble, copy])
      expect(await copy).toMatchObject({ code: 0, stderr: '' })
      expect(struck).toBe(true)
      expect(await md5(to)).toBe(await md5(original))
      await rm(to)
    }
    /** The shell that was there before all of it still knows what it knew, and so does the database session in its transaction. */
    async function kept(word: string): Promise<void> {
      const line = lineOf(said, new RegExp(`^${word}=`))
      shell.stdin?.write(`echo "${word}=$((X + 1)) $PWD"\n`)
      expect(await line).toContain(`${word}=42 /usr`)
      const row = lineOf(rows, new RegExp(`^${word} `))
      psql.stdin?.write(`insert into t values (1); select '${word} ' || count(*) from t;\n`)
      inserted += 1
      expect(await row).toBe(`${word} ${inserted}`)
    }
    let inserted = 0
    async function reached(): Promise<void> {
      expect(await finish(ssh('web-1', 'echo ok'))).toEqual({ code: 0, stdout: 'ok\n', stderr: '' })
    }

    beforeAll(async () => {
      ;[cluster, postgres] = await Promise.all([served(), startPostgres()])
      for (const name of ['proxy-1', 'proxy-2', 'proxy-3']) {
        let own = 0
        const relay = await chaosRelay(() => own)
        const public_addr = `127.0.0.1:${relay.port}`
        const proxy = await cluster.proxy(name, { more: { public_addr } })
        own = Number(proxy.address.split(':')[1])
        ways.push({ relay, proxy })
      }
      await cluster.knows(ways.map(({ relay }) => `127.0.0.1:${relay.port}`))
      agent = await cluster.agent('web-1', {
        type: 'node,app',
        services: {
          ssh_service: { enabled: true },
          app_service: {
            enabled: true,
            apps: [{ name: 'pg', uri: `tcp://127.0.0.1:${postgres.port}` }],
          },
        },
      })
      const twice = (service: string): boolean =>
        [...agent.said().matchAll(new RegExp(`tunnel\\.connected service=${service}`, 'g'))]
          .length >= 2
      while (!twice('ssh') || !twice('app')) await lineOf(agent.log, /tunnel\.connected/)

      for (const size of new Set([megabytes, slowMegabytes])) {
        const file = await open(join(cluster.home.dir, `original-${size}`), 'w')
        await pipeline(
          createReadStream('/dev/urandom', { end: size * MB - 1 }),
          file.createWriteStream(),
        )
      }

      shell = ssh('-tt', 'web-1')
      said = createInterface(shell.stdout ?? process.stdin)
      said.setMaxListeners(0)
      const ready = lineOf(said, /^ready=41/)
      shell.stdin?.write('X=41; cd /usr; echo "ready=$X"\n')
      await ready

      const app = cluster.launch(process.execPath, [
        ...[BIN, 'proxy', 'app', 'pg', '--profile', join(cluster.dataDir, 'profile')],
      ])
      const listening = createInterface(app.stdout ?? process.stdin)
      const port = (await lineOf(listening, /^127\.0\.0\.1:\d+$/)).split(':')[1] ?? ''
      psql = cluster.launch(peer('psql'), [
        ...['-h', '127.0.0.1', '-p', port, '-U', 'postgres', '-qAtX', '-v', 'ON_ERROR_STOP=1'],
      ])
      rows = createInterface(psql.stdout ?? process.stdin)
      rows.setMaxListeners(0)
      const begun = lineOf(rows, /^begun/)
      psql.stdin?.write("create table t (x int); begin; select 'begun';\n")
      await begun
    }, 240_000)
    afterAll(async () => {
      await cluster.close()
      await postgres.stop()
      for (const { relay } of ways) await relay.close()
    })

    test(
      'a path that swallows everything: the copy, the shell and the transaction go another way',
      { timeout: TIME },
      async () => {
        const broken: Way[] = []
        await copied(megabytes, (busy) => {
          busy.relay.blackhole(true)
          broken.push(busy)
        })
        await kept('blackhole')
        await reached()
        for (const { relay } of broken) relay.blackhole(false)
      },
    )

    test('every connection is reset, twice in one copy', { timeout: TIME }, async () => {
      await copied(megabytes, async () => {
        for (const { relay } of ways) relay.cut()
        await Promise.race(ways.map(({ relay }) => relay.after((megabytes * MB) / 3)))
        for (const { relay } of ways) relay.cut()
      })
      await kept('reset')
      await reached()
    })

    test(
      'the address changes: what is open falls silent, what is dialled works',
      { timeout: TIME },
      async () => {
        await copied(megabytes, () => {
          for (const { relay } of ways) relay.swallow()
        })
        await kept('address')
        await reached()
      },
    )

    test.each([
      ['300 ms there and back', { delay: 150 }],
      ['one segment in twenty is lost', { delay: 10, loss: 0.05 }],
    ])(
      '%s, on each of two hops: the copy arrives, also over a cut',
      { timeout: TIME },
      async (_, path) => {
        for (const { relay } of ways) relay.slow(path)
        try {
          await copied(slowMegabytes, ({ relay }) => relay.cut())
          await kept(`slow${path.delay}`)
        } finally {
          for (const { relay } of ways) relay.slow({})
        }
      },
    )

    test(
      'kill -9 of the proxy that carries the transaction: it is committed, whole',
      { timeout: TIME },
      async () => {
        const before = counts()
        const much = lineOf(rows, /^z+$/)
        psql.stdin?.write("select repeat('z', 3000000);\n")
        await much
        const victim = busiest(before)
        const copy = copied(megabytes, () => undefined)
        copy.catch(() => undefined)
        victim.proxy.signal('SIGKILL')
        await victim.proxy.exited
        await kept('killed')
        await reached()
        await copy
        const done = lineOf(rows, /^committed/)
        psql.stdin?.end("commit; select 'committed ' || count(*) from t;\n")
        expect(await done).toBe(`committed ${inserted}`)
        const check = await finish(
          cluster.launch(peer('psql'), [
            ...['-h', '127.0.0.1', '-p', String(postgres.port), '-U', 'postgres', '-qAtX'],
            ...['-c', 'select count(*) from t'],
          ]),
        )
        expect(check).toMatchObject({ code: 0, stdout: `${inserted}\n` })
        const ended = new Promise((resolve) => shell.on('close', resolve))
        shell.stdin?.write('exit 7\n')
        expect(await ended).toBe(7)
      },
    )
  },
)
