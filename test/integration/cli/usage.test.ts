// What a wrong call gets: an exit code of the contract, one line that says what is wrong, one that says what to do.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { postern, temporaryHome, type Home } from './postern.ts'

let home: Home
beforeAll(async () => {
  home = await temporaryHome()
})
afterAll(() => home.remove())

const run = (args: readonly string[], input?: string) =>
  postern(args, { cwd: home.dir, env: home.env, ...(input !== undefined && { input }) })

test.each([
  ['an unknown command', ['tokns'], 2, /unknown command 'tokns'/, /did you mean tokens\?/],
  ['an unknown verb', ['tokens', 'lst'], 2, /unknown command 'lst'/, /did you mean ls\?/],
  ['an unknown option', ['ls', '--jsn'], 2, /unknown option '--jsn'/, /did you mean --json\?/],
  ['a missing option', ['tokens', 'add'], 2, /--type/, /postern tokens --help/],
  ['a missing argument', ['tokens', 'rm'], 2, /missing required argument 'name'/, /--help/],
  ['one argument too many', ['status', 'now'], 2, /too many arguments/, /--help/],
  ['a wrong listen address', ['up', '--listen', 'nowhere'], 2, /--listen: use host:port/, /--help/],
  ['a port out of range', ['up', '--listen', '127.0.0.1:70000'], 2, /--listen/, /--help/],
  [
    'a label that is none',
    ['ls', 'nodes', 'prod'],
    2,
    /"prod" is not of the form key=value/,
    /--help/,
  ],
  ['a kind that is none', ['get', 'tokenz'], 2, /"tokenz" is no kind/, /token, role, user, lock/],
  ['two targets of a lock', ['lock', '--user', 'a', '--role', 'b'], 2, /exactly one/, /--help/],
  ['a type of event that is none', ['events', '--type', 'x'], 2, /unknown type "x"/, /agent\.join/],
  ['a span that is none', ['events', '--since', 'monday'], 2, /--since/, /--help/],
  ['a missing file', ['create', '-f', 'gone.yaml'], 2, /no such file/, /--help/],
  ['an unknown resource in a file', ['create', '-f', '-'], 2, /kind: use one of token/, /named/],
  ['two profiles at once', ['ls', '--profile', 'a', '--data-dir', 'b'], 2, /not both/, /--help/],
  ['a profile that cannot be one', ['ls', '--profile', 'A B'], 2, /neither/, /--help/],
  ['no profile yet', ['ls'], 3, /Not logged in/, /postern login --proxy HOST/],
  ['no profile for ssh', ['ssh', 'web-1'], 3, /Not logged in/, /postern login/],
  [
    'no profile for a ProxyCommand',
    ['proxy', 'ssh', 'web-1:22'],
    3,
    /Not logged in/,
    /postern login/,
  ],
  ['a ProxyCommand without a target', ['proxy', 'ssh'], 2, /name the node/, /--help/],
  ['a ProxyCommand with an unknown option', ['proxy', 'ssh', 'a:22', '--x'], 2, /"--x"/, /--help/],
  ['an agent without its file', ['agent', 'start', '-c', 'gone.yaml'], 2, /gone\.yaml/, /\w/],
] as const)('%s is told with its exit code and a hint', async (_name, args, code, error, hint) => {
  const done = await run(args, 'kind: nothing\n')
  expect(done.stderr).toMatch(/^error: .+\nhint: .+\n$/)
  expect(done.stderr).toMatch(error)
  expect(done.stderr.split('hint: ')[1]).toMatch(hint)
  expect(done.stdout).toBe('')
  expect(done.code).toBe(code)
})

test('--help shows examples first, on stdout, and is a success', async () => {
  for (const args of [
    [],
    ['tokens', 'add'],
    ['ls'],
    ['ssh'],
    ['proxy', 'ssh'],
    ['up'],
    ['agent', 'start'],
  ]) {
    const done = await run([...args, '--help'])
    expect(done.stdout).toMatch(/^Examples:\n {2}\$ postern |^Examples:\n {2}\$ ssh /)
    expect(done.stdout).toContain('Usage: postern')
    expect(done.stderr).toBe('')
    expect(done.code).toBe(0)
  }
})

test('a group without its verb shows its verbs and is wrong usage', async () => {
  const done = await run(['tokens'])
  expect(done.stderr).toContain('Usage: postern tokens')
  expect(done.stdout).toBe('')
  expect(done.code).toBe(2)
})

test('--version prints the version of the package alone', async () => {
  const done = await run(['--version'])
  expect(done.stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  expect(done.code).toBe(0)
})

test('agent configure prints a file that the agent reads, and refuses options that would make a wrong one', async () => {
  const good = await run([
    'agent',
    'configure',
    '--proxy-server',
    'access.example.com:443',
    '--type',
    'node,app',
    '--auth-token',
    '/etc/postern/token',
    '--app',
    'grafana=http://localhost:3000',
    '--labels',
    'env=prod',
    '--ca-pin',
    `sha256:${'a'.repeat(64)}`,
    '--nodename',
    'web-1',
  ])
  expect(good.stderr).toBe('')
  expect(good.code).toBe(0)
  expect(good.stdout).toContain('nodename: web-1')
  await mkdir(join(home.dir, 'etc'))
  await writeFile(join(home.dir, 'etc/postern.yaml'), good.stdout)
  const status = await run(['agent', 'status', '-c', 'etc/postern.yaml', '--json'])
  expect(JSON.parse(status.stdout)).toMatchObject({
    node: 'web-1',
    services: [{ service: 'ssh' }, { service: 'app' }],
  })
  expect(status.code).toBe(1)

  const bad = await run([
    'agent',
    'configure',
    '--proxy-server',
    'x:1',
    '--auth-token',
    'secret-in-the-clear',
  ])
  expect(bad.code).toBe(2)
  expect(bad.stdout).toBe('')
  expect(bad.stderr).toContain('auth_token')
  expect(bad.stderr).not.toContain('secret-in-the-clear')
})

test('a reader that goes away early is no failure', async () => {
  const { shell, BIN } = await import('./postern.ts')
  const done = await shell(`'${process.execPath}' '${BIN}' --help | head -1`, {
    cwd: home.dir,
    env: home.env,
  })
  expect(done.stdout).toBe('Examples:\n')
  expect(done.stderr).toBe('')
})
