/** Running programs over stock ssh: exit codes, signals, streams and environment arrive as they were. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ME, NODE, openWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld({ service: { acceptEnv: ['DEPLOY_TARGET'] } })
})
afterAll(() => world.close())

describe('exec', () => {
  test.each([0, 1, 42, 255])('exit code %i arrives', async (code) => {
    expect(await world.ssh([NODE, `exit ${code}`])).toMatchObject({ code, stderr: '' })
  })

  test('a program killed by a signal ends ssh as a signal does', async () => {
    const result = await world.ssh(['-v', NODE, 'kill -TERM $$'])
    expect(result.code).toBe(255)
    expect(result.stderr).toMatch(/exit-signal/)
  })

  test('stdout and stderr stay apart and complete', async () => {
    const result = await world.ssh([NODE, 'seq 1 50000; seq 50001 90000 >&2; echo last'])
    expect(result.stdout.trimEnd().split('\n')).toHaveLength(50001)
    expect(result.stdout.endsWith('last\n')).toBe(true)
    expect(result.stderr.trimEnd().split('\n')).toHaveLength(40000)
  })

  test('both streams beyond the window at once neither stall nor repeat', async () => {
    const big = 'head -c 6000000 /dev/zero'
    const result = await world.ssh([NODE, `${big} & ${big} >&2; wait`])
    expect([result.stdout.length, result.stderr.length]).toEqual([6000000, 6000000])
  })

  test('stdin, stdout and stderr are pipes that can be opened by name', async () => {
    const command = 'cat /dev/stdin > /dev/stdout; echo no > /dev/stderr'
    const result = await world.ssh([NODE, command], { input: 'yes' })
    expect(result).toMatchObject({ code: 0, stdout: 'yes', stderr: 'no\n' })
  })

  test('stdin sent before the command was decided is not lost', async () => {
    const result = await world.ssh([NODE, 'cat'], { input: 'x'.repeat(100_000) })
    expect(result.stdout).toHaveLength(100_000)
  })

  const size = Number(process.env['SSH_STDIN_MB'] ?? 64) * 1024 * 1024
  test('a large stdin arrives byte for byte', async () => {
    const hash = createHash('sha256')
    const child = world.start('ssh', [...world.config, NODE, 'sha256sum'])
    let text = ''
    child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()))
    const block = Buffer.alloc(1024 * 1024, 'postern')
    for (let sent = 0; sent < size; sent += block.length) {
      hash.update(block)
      if (!child.stdin?.write(block)) await once(child.stdin ?? child, 'drain')
    }
    child.stdin?.end()
    await once(child, 'close')
    expect(text.split(' ')[0]).toBe(hash.digest('hex'))
  })

  test('ssh returns when the reader of its output goes', async () => {
    const args = [...world.config, NODE, 'yes'].map((arg) => `'${arg}'`).join(' ')
    const result = await world.run('bash', ['-c', `ssh ${args} | head -1`])
    expect(result).toMatchObject({ code: 0, stdout: 'y\n' })
  })

  test('GHSA-hw4x-mcx5-9q36 (Teleport): the environment is made from nothing, plus what may be sent', async () => {
    const result = await world.ssh(
      ['-o', 'SendEnv=LC_ALL DEPLOY_TARGET LD_PRELOAD BASH_ENV OTHER', NODE, 'env -0'],
      { env: { LC_ALL: 'C', DEPLOY_TARGET: 'blue', LD_PRELOAD: '', BASH_ENV: '/x', OTHER: '1' } },
    )
    const env = new Map(
      result.stdout.split('\0').map((line) => line.split(/=(.*)/s) as [string, string]),
    )
    expect(Object.fromEntries(env)).toMatchObject({
      USER: ME,
      LOGNAME: ME,
      LC_ALL: 'C',
      DEPLOY_TARGET: 'blue',
      SSH_CONNECTION: '192.0.2.7 50000 0.0.0.0 0',
    })
    for (const name of ['LD_PRELOAD', 'BASH_ENV', 'OTHER', 'NODE_OPTIONS', 'VITEST'])
      expect(env.has(name), name).toBe(false)
  })

  test('a program starts at home, with umask 022, default signals and no descriptors of ours', async () => {
    const script =
      'pwd; umask; ulimit -n; ls /proc/$$/fd; exec grep -E "^Sig(Ign|Blk)" /proc/self/status'
    const { stdout } = await world.ssh([NODE, script])
    const [home, umask, files, ...rest] = stdout.trimEnd().split('\n')
    expect([home, umask, files]).toEqual([process.env['HOME'], '0022', '1024'])
    expect(rest.filter((line) => /^\d+$/.test(line)).map(Number)).toEqual([0, 1, 2])
    expect(rest.filter((line) => line.startsWith('Sig'))).toEqual([
      expect.stringMatching(/0{16}$/),
      expect.stringMatching(/0{16}$/),
    ])
  })

  test('a background process keeps neither the exit code nor the session', async () => {
    const result = await world.ssh([NODE, 'sleep 30 >/dev/null 2>&1 & exit 3'])
    expect(result.code).toBe(3)
  })

  test('what the client has left is ended', async () => {
    const child = world.start('ssh', [
      ...world.config,
      NODE,
      'trap "" HUP; echo $$; sleep 60; sleep 60',
    ])
    const [chunk] = (await once(child.stdout ?? child, 'data')) as [Buffer]
    const pid = Number(chunk.toString())
    child.kill('SIGKILL')
    await expect.poll(() => alive(pid), { timeout: 30_000 }).toBe(false)
  })
})

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

describe('the audit log', () => {
  test('has the start, the command and the end of a session', async () => {
    const own = await openWorld()
    await own.ssh([NODE, 'exit 7'])
    const end = await own.ctx.auditedOnce('session.end')
    expect(own.ctx.audited.map((e) => e.type)).toEqual([
      'session.start',
      'session.exec',
      'session.end',
    ])
    expect(own.ctx.audited[1]?.fields).toMatchObject({ command: 'exit 7', login: ME })
    expect(end.fields).toMatchObject({ exit_code: 7 })
    expect(end.fields['bytes_in']).toBeGreaterThan(1000)
    await own.close()
  })
})
