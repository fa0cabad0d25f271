// The whole system as a newcomer meets it: one command brings it up, and every command that its screen prints works as printed.
import { spawn, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { hostname, userInfo } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missing } from '../../support/peers.ts'
import {
  CHECKOUT,
  finish,
  lineOf,
  postern,
  shell,
  temporaryHome,
  up,
  type Finished,
  type Home,
  type RunningUp,
} from './postern.ts'

interface Listed {
  readonly metadata: { readonly name: string }
  readonly status: { readonly online: boolean; readonly last_seen?: string }
}

describe.skipIf(missing('ssh', 'scp', 'sftp', 'curl'))('postern up', () => {
  const node = hostname().toLowerCase()
  let home: Home
  let dataDir: string
  let running: RunningUp
  let agent2: ChildProcess | undefined

  const options = () => ({ cwd: CHECKOUT, env: home.env })
  const run = (...args: string[]) => postern([...args, '--data-dir', dataDir], options())
  const ssh = (command: string, input?: string): Promise<Finished> =>
    shell(`ssh -F '${dataDir}/ssh_config' ${node} ${command}`, {
      ...options(),
      ...(input !== undefined && { input }),
    })
  const listed = async (): Promise<Listed[]> =>
    JSON.parse((await run('ls', '--json')).stdout) as Listed[]
  /** Asks until it is so: each question is a whole process, so this does not spin. */
  const until = async (name: string, so: (item: Listed) => boolean): Promise<Listed> => {
    for (let i = 0; i < 60; i++) {
      const item = (await listed()).find((n) => n.metadata.name === name)
      if (item && so(item)) return item
    }
    throw new Error(`${name} never came to be so`)
  }

  beforeAll(async () => {
    await finish(spawn(process.execPath, [join(CHECKOUT, 'bin/build.mjs')]))
    home = await temporaryHome()
    dataDir = join(home.dir, 'data')
    running = await up(home, ['--data-dir', dataDir, '--listen', '127.0.0.1:0'], CHECKOUT)
  })
  afterAll(async () => {
    agent2?.kill('SIGKILL')
    await running.stop()
    await home.remove()
  })

  test('the first screen names the addresses, the agent that joined and three commands', () => {
    expect(running.screen).toContain(`agent           ${node} (ag_`)
    expect(running.screen).toContain('joined with a one-time token')
    expect(running.commands.map((c) => c.split(' ')[0])).toEqual(['ssh', 'curl', 'npx'])
  })

  test('no printed command shows a secret; the operator key is shown once, at the first start', async () => {
    expect(running.commands.join('\n')).not.toMatch(/pst_/)
    expect(running.screen.match(/pst_key_[A-Za-z0-9_-]{43}/g)).toHaveLength(1)
    expect(running.screen).not.toMatch(/pst_join_/)
    expect((await readFile(join(dataDir, 'up.log'), 'utf8')).match(/pst_\w+_[\w-]{8}/)).toBeNull()
  })

  test('everything that is kept is private to the user', async () => {
    expect((await stat(dataDir)).mode & 0o777).toBe(0o700)
    for (const name of await readdir(dataDir)) {
      const found = await stat(join(dataDir, name))
      if (found.isFile()) expect(`${name} ${(found.mode & 0o777).toString(8)}`).toBe(`${name} 600`)
    }
  })

  test('the printed ssh logs in without a question and without a warning', async () => {
    const [command = ''] = running.commands
    const done = await shell(`${command} 'echo "$((6 * 7))"; exit 7'`, options())
    expect(done).toEqual({ stdout: '42\n', stderr: '', code: 7 })
  })

  test('the printed ssh gives a shell that reads its commands', async () => {
    const [command = ''] = running.commands
    const done = await shell(command, { ...options(), input: 'id -un; exit 3\n' })
    expect(done.stdout).toContain(`${userInfo().username}\n`)
    expect(done.code).toBe(3)
  })

  test('the printed curl mints a token', async () => {
    const done = await shell(running.commands[1] ?? '', options())
    expect(JSON.parse(done.stdout)).toMatchObject({
      secret: expect.stringMatching(/^pst_join_[A-Za-z0-9_-]{43}$/) as string,
      roles: ['Node'],
      max_uses: 1,
    })
  })

  test('the printed agent joins as a second node, and ls says when it is gone', async () => {
    agent2 = spawn('sh', ['-c', `exec ${running.commands[2]}`], { ...options(), stdio: 'pipe' })
    await until(`${node}-2`, (item) => item.status.online)
    const text = await run('ls', 'nodes')
    expect(text.stdout).toMatch(new RegExp(`^node +${node}-2 +online`, 'm'))
    const [agentPid] = await pidsOf(dataDir)
    process.kill(agentPid ?? 0, 'SIGKILL')
    const gone = await until(`${node}-2`, (item) => !item.status.online)
    expect(gone.status.last_seen).toBeDefined()
    expect((await run('ls', 'nodes')).stdout).toMatch(
      new RegExp(`^node +${node}-2 +offline, last seen .+ ago|just now`, 'm'),
    )
  })

  test('scp and sftp carry files both ways unharmed', async () => {
    const bytes = Buffer.alloc(3_000_000, 'postern')
    await writeFile(join(home.dir, 'up.bin'), bytes)
    const config = `-F '${dataDir}/ssh_config'`
    const there = join(home.dir, 'there.bin')
    const copied = await shell(
      `scp -q ${config} '${home.dir}/up.bin' ${node}:'${there}' && scp -q ${config} ${node}:'${there}' '${home.dir}/back.bin'`,
      options(),
    )
    expect(copied).toEqual({ stdout: '', stderr: '', code: 0 })
    expect(await digest(join(home.dir, 'back.bin'))).toBe(await digest(join(home.dir, 'up.bin')))
    const sftp = await shell(`sftp -q ${config} -b - ${node}`, {
      ...options(),
      input: `get ${there} ${home.dir}/sftp.bin\n`,
    })
    expect(sftp.code).toBe(0)
    expect(await digest(join(home.dir, 'sftp.bin'))).toBe(await digest(join(home.dir, 'up.bin')))
  })

  test('postern ssh is the same path: output, exit code and the same refusal of a node that is none', async () => {
    const done = await run2(['ssh', '--data-dir', dataDir, node, 'echo out; echo err >&2; exit 42'])
    expect(done).toEqual({ stdout: 'out\n', stderr: 'err\n', code: 42 })
    const none = await run2(['ssh', '--data-dir', dataDir, 'no-such-node', 'true'])
    expect(none.stderr).toMatch(/^error: .+\nhint: .+\n/)
    expect(none.code).toBe(255)
  })
  const run2 = (args: string[]) => postern(args, options())

  test('the block of postern config works in a config of one’s own', async () => {
    const block = await run('config')
    await writeFile(join(home.dir, 'own_config'), block.stdout)
    const done = await shell(
      `ssh -F '${home.dir}/own_config' ${node}.postern.internal true`,
      options(),
    )
    expect(done).toEqual({ stdout: '', stderr: '', code: 0 })
  })

  test('tokens add shows the secret once; ls and rm know its name', async () => {
    const added = await run('tokens', 'add', '--type=node,app', '--ttl', '2h', '--name', 'web')
    expect(added.stdout).toMatch(/^token {4}pst_join_[A-Za-z0-9_-]{43}\nname {5}web\n/)
    expect(added.stderr).toMatch(/postern agent configure .+ --ca-pin sha256:[0-9a-f]{64}/)
    const shown = await run('tokens', 'ls')
    expect(shown.stdout).toMatch(/^web +Node,App +token +0\/1 +in 2h +active$/m)
    expect(shown.stdout).not.toContain('pst_join_')
    expect((await run('tokens', 'rm', 'web')).code).toBe(0)
    const again = await run('tokens', 'rm', 'web')
    expect(again.code).toBe(4)
    expect(again.stderr).toMatch(/^error: .+\nhint: .+\n$/)
  })

  test('wrong values are named with their field and change nothing', async () => {
    const before = await run('tokens', 'ls', '--json')
    for (const [args, field] of [
      [['--type=node', '--ttl', 'soon'], 'ttl'],
      [['--type=nod'], 'roles'],
      [['--type=node', '--uses', '0'], 'max_uses'],
      [['--type=node', '--method', 'guess'], 'join_method'],
      [['--type=node', '--name', 'a b'], 'name'],
    ] as const) {
      const done = await run('tokens', 'add', ...args)
      expect(done.stderr).toMatch(new RegExp(`^error: ${field}.*\nhint: `))
      expect(done.code).toBe(2)
    }
    expect((await run('tokens', 'ls', '--json')).stdout).toBe(before.stdout)
  })

  test('create applies a file again and again, get prints it back, rm removes it', async () => {
    const role = `kind: role
version: v7
metadata: { name: dev }
spec: { allow: { logins: [deploy], node_labels: { env: dev } } }
`
    const create = (input: string) =>
      postern(['create', '-f', '-', '--data-dir', dataDir], { ...options(), input })
    expect((await create(role)).stdout).toBe('role/dev created\n')
    expect((await create(role)).stdout).toBe('role/dev applied\n')
    const printed = await run('get', 'role/dev')
    expect((await create(printed.stdout)).stdout).toBe('role/dev applied\n')
    expect((await run('get', 'role/dev')).stdout).toBe(printed.stdout)
    expect((await run('rm', 'role/dev')).code).toBe(0)
    expect((await run('get', 'role/dev')).code).toBe(4)
    const wrong = await create(role.replace('node_labels', 'node_lables'))
    expect(wrong.stderr).toContain('spec.allow.node_lables')
    expect(wrong.code).toBe(2)
  })

  test('a second up on the same directory says who holds it', async () => {
    const second = await postern(
      ['up', '--data-dir', dataDir, '--listen', '127.0.0.1:0'],
      options(),
    )
    expect(second.stderr).toMatch(new RegExp(`^error: .*\\b${running.pid}\\b.*\nhint: .+\n$`))
    expect(second.code).toBe(1)
  })

  test('an address that is taken is told as such', async () => {
    const port = new URL(running.origin).port
    const other = join(home.dir, 'other')
    const second = await postern(
      ['up', '--data-dir', other, '--listen', `127.0.0.1:${port}`],
      options(),
    )
    expect(second.stderr).toContain(`another process listens on 127.0.0.1:${port}`)
    expect(second.code).toBe(1)
  })

  test('a user signs in with a password, reaches what its role grants, and a lock cuts it within 2 s', async () => {
    const login = userInfo().username
    const password = 'correct horse battery staple'
    const added = await postern(
      [
        'users',
        'add',
        'ann',
        '--roles=access',
        `--logins=${login}`,
        '--password-file',
        '-',
        '--data-dir',
        dataDir,
      ],
      { ...options(), input: `${password}\n` },
    )
    expect(added.code).toBe(0)
    const pin = /sha256:[0-9a-f]{64}/.exec(
      await readFile(join(dataDir, 'agent2.yaml'), 'utf8'),
    )?.[0]
    const profile = join(home.dir, 'ann')
    const signIn = (input: string) =>
      postern(
        [
          'login',
          '--proxy',
          running.origin,
          '--ca-pin',
          pin ?? '',
          '--user',
          'ann',
          '--profile',
          profile,
        ],
        { ...options(), input },
      )
    const refused = await signIn('not the password\n')
    expect(refused.stderr).toMatch(/^error: User or password is wrong\nhint: /)
    expect(refused.code).toBe(3)
    expect((await signIn(`${password}\n`)).stdout).toMatch(/as ann\nroles {4}access\n/)

    const mayNot = await postern(['tokens', 'ls', '--profile', profile], options())
    expect(mayNot.code).toBe(3)
    const may = await postern(['ls', 'nodes', '--profile', profile], options())
    expect(may.stdout).toContain(node)

    const session = spawn(
      'ssh',
      ['-F', join(profile, 'ssh_config'), `${login}@${node}`, 'echo ready; exec cat'],
      {
        ...options(),
        stdio: 'pipe',
      },
    )
    const ended = new Promise<number | null>((resolve) => session.on('close', resolve))
    expect(await lineOf(createInterface(session.stdout), /ready/)).toBe('ready')
    expect((await run('lock', '--user', 'ann', '--ttl', '1h')).stdout).toMatch(/^lk_/)
    const locked = performance.now()
    expect(await ended).not.toBe(0)
    expect(performance.now() - locked).toBeLessThan(2000)
    const after = await shell(`ssh -F '${profile}/ssh_config' ${login}@${node} true`, options())
    expect(after.code).toBe(255)
  })

  test('the audit log has it all', async () => {
    const done = await run('events', '--json', '--limit', '1000')
    const types = new Set((JSON.parse(done.stdout) as { type: string }[]).map((e) => e.type))
    for (const type of [
      'operator.bootstrap',
      'agent.join',
      'token.create',
      'token.revoke',
      'cert.issue',
      'user.put',
      'user.login',
      'role.put',
      'role.delete',
      'lock.create',
      'session.start',
      'session.end',
      'session.exec',
    ])
      expect(types).toContain(type)
    const text = await run('events', '--type', 'user.login', '--user', 'ann', '--since', '1h')
    expect(text.stdout).toMatch(/user\.login +refused +ann/)
    expect(text.stdout).toMatch(/user\.login +ok +ann/)
  })

  test('kill -9 and a new start lose nothing: tokens, users, the agent’s identity', async () => {
    const minted = await run('tokens', 'add', '--type=node', '--name', 'kept', '--json')
    const id = /\((ag_\w+)\)/.exec(running.screen)?.[1]
    await running.kill()
    const port = new URL(running.origin).port
    running = await up(home, ['--data-dir', dataDir, '--listen', `127.0.0.1:${port}`], CHECKOUT)
    expect(running.screen).toContain(`(${id}), back with its identity`)
    expect(running.screen).not.toContain('pst_key_')
    const kept = JSON.parse((await run('tokens', 'ls', '--json')).stdout) as Listed[]
    expect(kept.map((t) => t.metadata.name)).toContain(
      (JSON.parse(minted.stdout) as { name: string }).name,
    )
    expect(await ssh('true')).toEqual({ stdout: '', stderr: '', code: 0 })
  })

  test('Ctrl-C ends it with 0 and leaves the directory free for the next start', async () => {
    expect(await running.stop()).toBe(0)
    expect((await readdir(dataDir)).filter((name) => name.endsWith('.lock'))).toEqual([])
    running = await up(
      home,
      ['--data-dir', dataDir, '--listen', '0.0.0.0:0', '--no-agent'],
      CHECKOUT,
    )
    expect(running.screen).not.toContain('ssh -F')
    expect(running.commands.at(-1)).toMatch(
      /^postern agent configure --proxy-server \S+:\d+ --ca-pin sha256:[0-9a-f]{64} --auth-token \/etc\/postern\.token/,
    )
    const token = await shell(running.commands[0] ?? '', options())
    expect(JSON.parse(token.stdout)).toHaveProperty('secret')
  })
})

const digest = async (file: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex')

/** The agent of agent2.yaml itself: npx and its shell are only its parents. */
async function pidsOf(dataDir: string): Promise<number[]> {
  const text = await readFile(join(dataDir, 'agent2/agent.lock'), 'utf8')
  return [(JSON.parse(text) as { pid: number }).pid]
}
