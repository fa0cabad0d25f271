// Several proxies and what may happen to them, with real processes and stock clients.
import type { ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lineOf, finish } from '../cli/postern.ts'
import { missing } from '../../support/peers.ts'
import { keepingShell } from '../../support/shells.ts'
import { served, type Part, type Served, type ServedProxy } from '../../support/served.ts'

// POSTERN_TEST_MEGABYTES=1000 for the long run.
const megabytes = Number(process.env['POSTERN_TEST_MEGABYTES'] ?? 32)
const NAMES = ['proxy-1', 'proxy-2', 'proxy-3'] as const

const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

describe.skipIf(missing('ssh', 'scp'))('three proxies', () => {
  let cluster: Served
  let agent: Part
  const proxies = new Map<string, ServedProxy>()

  /** Ids of the proxies that the agent has a tunnel to now, by its log. */
  function tunnels(): string[] {
    return [...agent.said().matchAll(/tunnel\.connected .*proxy=(px_\w+)/g)].map((m) => m[1] ?? '')
  }
  async function twoTunnels(): Promise<void> {
    while (new Set(tunnels()).size < 2) await lineOf(agent.log, /tunnel\.connected/)
  }
  const ssh = (...args: string[]): ChildProcess =>
    cluster.launch('ssh', ['-F', cluster.sshConfig, ...args])

  beforeAll(async () => {
    cluster = await served()
    for (const name of NAMES) proxies.set(name, await cluster.proxy(name))
    await cluster.knows([...proxies.values()].map((p) => p.address))
    agent = await cluster.agent('web-1', {
      type: 'node',
      services: { ssh_service: { enabled: true } },
    })
    await twoTunnels()
  }, 240_000)
  afterAll(() => cluster.close())

  test('an agent holds tunnels to two of them, and a user who lands on any is brought to it', async () => {
    expect(new Set(tunnels()).size).toBe(2)
    const profile = join(cluster.dataDir, 'profile', 'profile.json')
    const text = await readFile(profile, 'utf8')
    try {
      for (const { address } of proxies.values()) {
        await writeFile(profile, JSON.stringify({ ...JSON.parse(text), proxies: [address] }))
        expect(await finish(ssh('web-1', `echo by ${address}`))).toMatchObject({
          code: 0,
          stdout: `by ${address}\n`,
        })
      }
    } finally {
      await writeFile(profile, text)
    }
    const relayed = [...proxies.values()].filter((p) => p.said().includes('proxy.stream_relayed'))
    expect(relayed).toHaveLength(3)
  }, 240_000)

  // Each proxy is stopped as soon as the one before listens again, before any agent has come back to it.
  test(
    'a rolling restart under load loses no stream and no new connection',
    { timeout: 400_000 },
    async () => {
      const from = join(cluster.home.dir, 'original')
      const to = join(cluster.home.dir, 'copy')
      const content = randomBytes(megabytes * 1_000_000)
      await writeFile(from, content)
      const shell = ssh('-tt', 'web-1')
      shell.stdin?.write('X=41\n')
      let restarting = true
      // kbit/s, so that the copy is under way during all of it.
      const copies = (async () => {
        let n = 0
        do {
          const copy = cluster.launch('scp', [
            ...['-F', cluster.sshConfig, '-l', String(megabytes * 1600), from, `web-1:${to}`],
          ])
          expect(await finish(copy)).toMatchObject({ code: 0, stderr: '' })
          expect(digest(await readFile(to))).toBe(digest(content))
          n += 1
        } while (restarting)
        return n
      })()
      const small = (async () => {
        let n = 0
        while (restarting) {
          expect(await finish(ssh('web-1', 'echo ok'))).toEqual({
            code: 0,
            stdout: 'ok\n',
            stderr: '',
          })
          n += 1
        }
        return n
      })()
      // Awaited below; a failure in between is told there.
      for (const early of [copies, small]) early.catch(() => undefined)
      for (const name of NAMES) {
        const old = proxies.get(name)
        old?.signal('SIGTERM')
        expect(await old?.exited).toBe(0)
        proxies.set(name, await cluster.proxy(name))
      }
      restarting = false
      expect(await copies).toBeGreaterThan(0)
      expect(await small).toBeGreaterThan(2)
      let said = ''
      shell.stdout?.on('data', (text: Buffer) => (said += text.toString()))
      const closed = new Promise((resolve) => shell.on('close', resolve))
      shell.stdin?.write('echo "after=$((X + 1))"; exit 7\n')
      expect(await closed).toBe(7)
      expect(said).toContain('after=42')
    },
  )

  test('kill -9 of a proxy: the shells over it go on, and so do new connections', async () => {
    const shells = await Promise.all([1, 2, 3].map((n) => keepingShell(ssh('-tt', 'web-1'), n)))
    const victim = proxies.get('proxy-1')
    victim?.signal('SIGKILL')
    await victim?.exited
    const small = await Promise.all([1, 2, 3, 4].map(() => finish(ssh('web-1', 'echo ok'))))
    expect(small.map((s) => s.stdout)).toEqual(Array(4).fill('ok\n'))
    for (const shell of shells) await shell.ends()
  }, 240_000)
})
