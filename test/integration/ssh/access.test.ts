/** Live sessions obey what is decided later: locks, roles, expiry, idle time, the number of sessions. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { plus, systemClock } from '../../../core/clock.ts'
import { newId } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { openRole } from '../../fakes/service-context.ts'
import { collect, ME, NODE, openWorld, USER, type Result, type World } from './world.ts'

let world: World | undefined
afterEach(async () => {
  await world?.close()
  world = undefined
})

/** A session that runs, with the process id of what it runs. */
async function running(
  on: World,
  ...args: string[]
): Promise<{ child: ChildProcess; pid: number; done: Promise<Result> }> {
  const child = spawn('ssh', [...on.config, ...args, NODE, 'echo $$; exec sleep 100'])
  const first = once(child.stdout, 'data') as Promise<[Buffer]>
  const done = collect(child)
  const [chunk] = await first
  return { child, pid: Number(chunk.toString()), done }
}
const gone = (pid: number) =>
  expect
    .poll(
      () => {
        try {
          return process.kill(pid, 0)
        } catch {
          return false
        }
      },
      { timeout: 30_000 },
    )
    .toBe(false)
const lockOn = (user: string) => ({
  id: newId('lock', systemClock.now(), systemRandom),
  target: { kind: 'user', user } as const,
  message: undefined,
  created: systemClock.now(),
  createdBy: 'op',
  expires: undefined,
})

describe('a live session', () => {
  test('is cut within two seconds of a lock, with its processes, and told why', async () => {
    world = await openWorld()
    const session = await running(world)
    const at = performance.now()
    world.ctx.setPolicy({ locks: [lockOn(USER)] })
    const result = await session.done
    expect(performance.now() - at).toBeLessThan(2000)
    expect(result.stderr).toMatch(/postern: a lock is in force/)
    await gone(session.pid)
    const event = await world.ctx.auditedOnce('session.refused')
    expect(event.reason).toMatch(/^lock lk_/)
    await world.ctx.auditedOnce('session.end')
    expect((await world.ssh([NODE, 'true'])).code).toBe(255)
  })

  test('of another user is left alone by that lock', async () => {
    world = await openWorld()
    const session = await running(world)
    world.ctx.setPolicy({ locks: [lockOn('bob')] })
    expect((await world.ssh([NODE, 'echo ok'])).stdout).toBe('ok\n')
    expect(session.child.exitCode).toBeNull()
    session.child.kill()
    await session.done
  })

  test('is cut when its role is taken away', async () => {
    world = await openWorld()
    const session = await running(world)
    world.ctx.setPolicy({ users: {} })
    expect((await session.done).stderr).toMatch(/postern: you may not log in here/)
  })

  test('ends with its certificate', async () => {
    world = await openWorld()
    world.streamOf({ expires: plus(systemClock.now(), 6000) })
    const session = await running(world)
    expect((await session.done).stderr).toMatch(/postern: your certificate has expired/)
    await gone(session.pid)
  })

  test('that stays idle is ended by the role', async () => {
    world = await openWorld({ roles: [openRole('access', [ME], { idleTimeout: 3000 })] })
    const session = await running(world)
    expect((await session.done).stderr).toMatch(/postern: ended because it was idle/)
    const busy = await world.ssh([NODE, 'for i in 1 2 3 4; do sleep 1; echo $i; done'])
    expect(busy).toMatchObject({ code: 0, stdout: '1\n2\n3\n4\n' })
  })

  test('loses its forwards when the role does', async () => {
    world = await openWorld()
    const child = spawn('ssh', [...world.config, '-v', '-N', '-R', '0:127.0.0.1:9', NODE])
    let log = ''
    child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()))
    await expect.poll(() => log, { timeout: 10_000 }).toMatch(/Allocated port \d+/)
    const port = Number(/Allocated port (\d+)/.exec(log)?.[1])
    world.ctx.setPolicy({ roles: [openRole('access', [ME], { remoteForwarding: false })] })
    const refused = (): Promise<boolean> =>
      new Promise((resolve) => {
        const socket = connect(port, '127.0.0.1', () => (socket.destroy(), resolve(false)))
        socket.on('error', () => resolve(true))
      })
    await expect.poll(refused, { timeout: 30_000 }).toBe(true)
    child.kill()
    await once(child, 'exit')
  })
})

describe('a new session', () => {
  test('beyond max_sessions of the role is refused, and possible again later', async () => {
    world = await openWorld({ roles: [openRole('access', [ME], { maxSessions: 2 })] })
    const mux = ['-o', `ControlPath=${world.dir}/mux`, '-o', 'ControlMaster=auto']
    const first = await running(world, ...mux)
    const second = await running(world, '-o', `ControlPath=${world.dir}/mux`)
    const direct = [
      '-o',
      `ControlPath=${world.dir}/mux`,
      '-o',
      'ControlMaster=no',
      '-o',
      'ProxyCommand=false',
    ]
    const third = await world.ssh([...direct, NODE, 'true'])
    expect(third.code).not.toBe(0)
    const event = await world.ctx.auditedOnce('session.refused')
    expect(event.reason).toBe('session 3 of 2')
    second.child.kill()
    await second.done
    await expect.poll(async () => (await world?.ssh([...direct, NODE, 'true']))?.code).toBe(0)
    first.child.kill()
    await first.done
  })
})

describe('the service', () => {
  test('ends every session when it is closed', async () => {
    const own = await openWorld()
    const session = await running(own)
    await own.close()
    expect((await session.done).code).toBe(255)
    await gone(session.pid)
  })
})
