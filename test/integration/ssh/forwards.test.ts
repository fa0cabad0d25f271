/** Forwards of stock ssh: -L, -R, -D, unix sockets, half-close, and what is never forwarded to. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { openRole } from '../../fakes/service-context.ts'
import { ME, NODE, openWorld, type World } from './world.ts'

let world: World
const children: ChildProcess[] = []
const servers: Server[] = []
beforeAll(async () => {
  world = await openWorld()
})
afterEach(async () => {
  for (const server of servers.splice(0)) server.close()
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill()
    await once(child, 'exit')
  }
})
afterAll(() => world.close())

/** ssh with a forward and no command; resolves when it says that it is set up. */
async function forward(
  on: World,
  ...args: string[]
): Promise<{ child: ChildProcess; log: () => string }> {
  const child = spawn(
    'ssh',
    [...on.config, '-v', '-N', '-o', 'ExitOnForwardFailure=yes', ...args, NODE],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  children.push(child)
  let text = ''
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      // -R is confirmed after this line; -v tells so.
      const wantsRemote = args.includes('-R')
      if (/Entering interactive session|forwarding_success/.test(text) && !wantsRemote) resolve()
      if (/remote forward success/.test(text)) resolve()
    })
    child.once('exit', () => reject(new Error(text)))
  })
  return { child, log: () => text }
}

async function listen(
  on: (socket: Socket) => void,
  at: object = { port: 0, host: '127.0.0.1' },
): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined)
    on(socket)
  })
  servers.push(server)
  server.listen(at)
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' ? (address?.port ?? 0) : 0
}

async function freePort(): Promise<number> {
  const port = await listen(() => undefined)
  servers.pop()?.close()
  return port
}

/** Sends, half-closes, and reads to the end. */
async function exchange(
  at: { port: number; host: string } | { path: string },
  text: string,
): Promise<string> {
  const socket = connect({ ...at, allowHalfOpen: true })
  socket.end(text)
  let got = ''
  for await (const chunk of socket) got += (chunk as Buffer).toString()
  return got
}
/** Answers only after the other side has ended: needs half-close all the way. */
const afterEnd = (socket: Socket): void => {
  let got = ''
  socket.on('data', (chunk: Buffer) => (got += chunk.toString()))
  socket.on('end', () => socket.end(`got ${got}`))
}
const host = '127.0.0.1'

describe('forwards', () => {
  test('-L to a port, with half-close, in the audit log', async () => {
    const target = await listen(afterEnd)
    const port = await freePort()
    await forward(world, '-L', `${port}:127.0.0.1:${target}`)
    expect(await exchange({ host, port }, 'hello')).toBe('got hello')
    const event = await world.ctx.auditedOnce('session.forward')
    expect(event.fields).toMatchObject({ direction: 'local', target: `127.0.0.1:${target}` })
  })

  test('-L and -R between unix sockets', async () => {
    const target = path.join(world.dir, 'target.sock')
    const local = path.join(world.dir, 'local.sock')
    const remote = path.join(world.dir, 'remote.sock')
    await listen(afterEnd, { path: target })
    await forward(world, '-L', `${local}:${target}`)
    expect(await exchange({ path: local }, 'there')).toBe('got there')
    await forward(world, '-R', `${remote}:${target}`)
    expect(await exchange({ path: remote }, 'back')).toBe('got back')
  })

  test('-R to a port, chosen by the node too', async () => {
    const target = await listen(afterEnd)
    const { log } = await forward(world, '-R', `0:127.0.0.1:${target}`)
    await expect.poll(log).toMatch(/Allocated port \d+/)
    const port = Number(/Allocated port (\d+)/.exec(log())?.[1])
    expect(await exchange({ host, port }, 'back')).toBe('got back')
  })

  test('a taken port is refused', async () => {
    const taken = await listen(() => undefined)
    await expect(forward(world, '-R', `${taken}:127.0.0.1:1`)).rejects.toThrow(
      /remote port forwarding failed/,
    )
  })

  test('-D by name, many at once', async () => {
    const target = await listen(afterEnd)
    const port = await freePort()
    await forward(world, '-D', `127.0.0.1:${port}`)
    const through = async (i: number): Promise<string> => {
      const socket = connect({ host, port, allowHalfOpen: true })
      const name = Buffer.from('localhost')
      socket.write(Buffer.from([5, 1, 0]))
      await once(socket, 'data')
      const at = Buffer.alloc(2)
      at.writeUInt16BE(target)
      socket.write(Buffer.concat([Buffer.from([5, 1, 0, 3, name.length]), name, at]))
      await once(socket, 'data')
      socket.end(`n${i}`)
      let got = ''
      for await (const chunk of socket) got += (chunk as Buffer).toString()
      return got
    }
    const all = await Promise.all(Array.from({ length: 20 }, (_, i) => through(i)))
    expect(all).toEqual(Array.from({ length: 20 }, (_, i) => `got n${i}`))
  })

  test.each(['169.254.169.254', '[fe80::1]', '[::ffff:169.254.169.254]', '100.100.100.200'])(
    'metadata and link-local addresses are refused: %s',
    async (address) => {
      const result = await world.ssh(['-W', `${address}:80`, NODE])
      expect(result.code).not.toBe(0)
      expect(result.stderr).toMatch(/this address is never forwarded to/)
    },
  )

  test('a target that does not answer fails with its reason', async () => {
    const result = await world.ssh(['-W', `127.0.0.1:${await freePort()}`, NODE])
    expect(result.stderr).toMatch(/connect failed: ECONNREFUSED/)
  })

  test('ControlMaster carries parallel sessions', async () => {
    const socket = path.join(world.dir, 'mux')
    const mux = ['-o', `ControlPath=${socket}`]
    const master = spawn('ssh', [...world.config, ...mux, '-M', '-N', NODE], { stdio: 'ignore' })
    children.push(master)
    await expect.poll(() => existsSync(socket), { timeout: 10_000 }).toBe(true)
    const results = await Promise.all(
      Array.from({ length: 12 }, (_, i) =>
        world.ssh([...mux, NODE, `seq 1 ${1000 + i} | tail -1; exit ${i}`]),
      ),
    )
    expect(results.map((r) => [r.code, r.stdout])).toEqual(
      Array.from({ length: 12 }, (_, i) => [i, `${1000 + i}\n`]),
    )
  })
})

describe('a role without forwarding', () => {
  test('-L and -R are refused, with the reason where ssh shows one', async () => {
    const options = { localForwarding: false, remoteForwarding: false }
    const closed = await openWorld({ roles: [openRole('access', [ME], options)] })
    const local = await closed.ssh(['-W', '127.0.0.1:22', NODE])
    expect(local.stderr).toMatch(/administratively prohibited: your role does not allow/)
    await expect(forward(closed, '-R', '0:127.0.0.1:1')).rejects.toThrow(/forwarding failed/)
    const refusals = closed.ctx.audited.filter((e) => e.type === 'session.refused')
    expect(refusals.map((e) => e.reason)).toEqual(['ssh_port_forwarding', 'ssh_port_forwarding'])
    await closed.close()
  })
})

describe('agent forwarding', () => {
  /** Runs ssh -A with an agent that holds one key. */
  const withAgent = (on: World, command: string) =>
    on.run('ssh-agent', [
      'bash',
      '-c',
      `ssh-add -q '${path.join(on.dir, 'id')}' && ssh ${on.config.join(' ')} -o IdentityAgent=SSH_AUTH_SOCK -A ${NODE} '${command}'`,
    ])

  test('reaches the keys of the user where the role allows it, through a socket of theirs', async () => {
    const open = await openWorld({ roles: [openRole('access', [ME], { forwardAgent: true })] })
    const result = await withAgent(
      open,
      'ssh-add -l; stat -c %a:%U $SSH_AUTH_SOCK; echo $SSH_AUTH_SOCK',
    )
    expect(result.stdout).toMatch(/ED25519/)
    expect(result.stdout).toContain(`600:${ME}`)
    const socket = result.stdout.trimEnd().split('\n').at(-1) ?? ''
    await open.ctx.auditedOnce('session.agent_forward')
    await expect.poll(() => existsSync(path.dirname(socket))).toBe(false)
    await open.close()
  })

  test('does not exist where the role does not allow it', async () => {
    const result = await withAgent(world, 'echo "[$SSH_AUTH_SOCK]"')
    expect(result.stdout).toBe('[]\n')
    const event = await world.ctx.auditedOnce(
      'session.refused',
      (e) => e.reason === 'forward_agent',
    )
    expect(event.outcome).toBe('refused')
  })
})
