// A second service without ssh anywhere: an app behind an agent, reached through a local port of the user's machine.
import type { ChildProcess } from 'node:child_process'
import { createServer, type Server } from 'node:http'
import { writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
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
} from './postern.ts'

describe('apps on the command line', () => {
  let home: Home
  let running: RunningUp
  let target: Server
  const children: ChildProcess[] = []
  const run = (...args: string[]) => postern(args, { cwd: home.dir, env: home.env })
  const launch = (args: string[]): ChildProcess => {
    const child = start(process.execPath, [BIN, ...args], { cwd: home.dir, env: home.env })
    children.push(child)
    return child
  }

  /** A configuration of `agent configure` with a token that allows `tokenRoles`. */
  async function configure(name: string, type: string, tokenRoles: string): Promise<string> {
    const port = (target.address() as AddressInfo).port
    const minted = await run('tokens', 'add', `--type=${tokenRoles}`, '--json')
    const token = JSON.parse(minted.stdout) as { secret: string; ca_pins: string[] }
    await writeFile(join(home.dir, `${name}.token`), token.secret, { mode: 0o600 })
    const made = await run(
      'agent',
      'configure',
      '--type',
      type,
      '--nodename',
      name,
      '--proxy-server',
      new URL(running.origin).host,
      '--data-dir',
      join(home.dir, name),
      '--auth-token',
      join(home.dir, `${name}.token`),
      '--ca-pin',
      token.ca_pins[0] ?? '',
      ...(type.includes('app') ? ['--app', `hello=http://127.0.0.1:${port}`] : []),
    )
    const file = join(home.dir, `${name}.yaml`)
    await writeFile(file, made.stdout)
    return file
  }

  beforeAll(async () => {
    home = await temporaryHome()
    target = createServer((request, response) => response.end(`hello ${request.url}`))
    await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve))
    // In postern-data of the working directory, where the other commands look for it by themselves.
    running = await up(home, ['--no-agent', '--listen', '127.0.0.1:0'])
  })
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL')
    await running.stop()
    target.close()
    await home.remove()
  })

  test('a token without a service stops that service with a line that names both; the other serves', async () => {
    const agent = launch(['agent', 'start', '-c', await configure('app-1', 'node,app', 'app')])
    const log = createInterface(agent.stderr ?? process.stdin)
    const [refused] = await Promise.all([
      lineOf(log, /service\.failed/),
      lineOf(log, /tunnel\.connected .*service=app/),
    ])
    expect(refused).toContain('service=ssh')
    expect(refused).toContain('ERR_JOIN_SERVICE_NOT_ALLOWED')
    expect(refused).toMatch(/roles?\b.*App/)
    const shown = await run('ls')
    expect(shown.stdout).toMatch(/^app +hello +online/m)
    expect(shown.stdout).not.toMatch(/^node/m)
  })

  test('proxy app gives a local port that leads to it, until it is interrupted', async () => {
    const proxy = launch(['proxy', 'app', 'hello'])
    const address = await lineOf(
      createInterface(proxy.stdout ?? process.stdin),
      /^127\.0\.0\.1:\d+$/,
    )
    const answers = await Promise.all(
      [1, 2, 3].map(async (n) => (await fetch(`http://${address}/${n}`)).text()),
    )
    expect(answers).toEqual(['hello /1', 'hello /2', 'hello /3'])
    const ended = new Promise((resolve) => proxy.on('close', resolve))
    proxy.kill('SIGINT')
    expect(await ended).toBe(0)
    await expect(fetch(`http://${address}/`)).rejects.toThrow()
  })

  test('an agent whose every service is refused ends, with the exit code of a refusal', async () => {
    const agent = launch(['agent', 'start', '-c', await configure('none-1', 'node', 'app')])
    const done = await finish(agent)
    expect(done.stderr).toMatch(/\nerror: .+\nhint: .+\n$/)
    expect(done.code).toBe(3)
  })

  test('a token that was used up refuses with its reason in the audit log alone', async () => {
    const first = await configure('used-1', 'node', 'node')
    const agent = launch(['agent', 'start', '-c', first])
    await lineOf(createInterface(agent.stderr ?? process.stdin), /tunnel\.connected/)
    const yaml = await run(
      'agent',
      'configure',
      '--nodename',
      'used-2',
      '--proxy-server',
      new URL(running.origin).host,
      '--data-dir',
      join(home.dir, 'used-2'),
      '--auth-token',
      join(home.dir, 'used-1.token'),
      '--ca-pin',
      /sha256:\w+/.exec((await run('tokens', 'add', '--type=node', '--json')).stdout)?.[0] ?? '',
    )
    await writeFile(join(home.dir, 'used-2.yaml'), yaml.stdout)
    const done = await finish(launch(['agent', 'start', '-c', 'used-2.yaml']))
    expect(done.code).toBe(3)
    expect(done.stderr).not.toMatch(/used up/)
    const events = await run('events', '--type', 'agent.join')
    expect(events.stdout).toMatch(/agent\.join +refused .*used up/)
  })

  test('agent status tells a running agent from one that is not, without touching it', async () => {
    const status = await run('agent', 'status', '-c', 'app-1.yaml', '--json')
    expect(JSON.parse(status.stdout)).toMatchObject({
      node: 'app-1',
      agent_id: expect.stringMatching(/^ag_/) as string,
      services: [{ service: 'ssh' }, { service: 'app', generation: 1 }],
    })
    expect(status.code).toBe(0)
    expect((await run('agent', 'status', '-c', 'used-2.yaml')).code).toBe(1)
  })

  test('without a pin, login says what to do instead of sending the password', async () => {
    const other = await temporaryHome()
    const done = await postern(
      ['login', '--proxy', new URL(running.origin).host, '--user', 'ann'],
      {
        cwd: other.dir,
        env: other.env,
        input: 'a password that stays here\n',
      },
    )
    await other.remove()
    expect(done.stderr).toMatch(/^error: .+\nhint: .*--ca-pin/)
    expect(done.code).toBe(5)
  })
})
