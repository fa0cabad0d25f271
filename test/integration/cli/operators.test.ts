/** Operating a cluster from the command line: with an API key, with an id token of a CI job, and as a user with a certificate. */
import { spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missing, peer } from '../../support/peers.ts'
import { jwksOf, signIdToken, signingKey } from '../../support/id-tokens.ts'
import {
  CHECKOUT,
  finish,
  postern,
  temporaryHome,
  up,
  type Finished,
  type Home,
  type RunningUp,
} from './postern.ts'

let home: Home
let running: RunningUp
let pin = ''
beforeAll(async () => {
  await finish(spawn(process.execPath, [join(CHECKOUT, 'bin/build.mjs')]))
  home = await temporaryHome()
  running = await up(home, ['--data-dir', 'postern-data', '--listen', '127.0.0.1:0', '--no-agent'])
  const profile = await readFile(join(home.dir, 'postern-data/profile/profile.json'), 'utf8')
  pin = (JSON.parse(profile) as { ca_pins: string[] }).ca_pins[0] ?? ''
})
afterAll(async () => {
  await running.stop()
  await home.remove()
})

/** As the owner of the cluster, whose profile lies in the working directory. */
const owner = (args: readonly string[], env: Record<string, string> = {}): Promise<Finished> =>
  postern(args, { cwd: home.dir, env: { ...home.env, ...env } })
/** Away from any profile, with what a job has in its environment. */
const job = (token: string, args: readonly string[]): Promise<Finished> =>
  postern(args, {
    cwd: '/',
    env: {
      ...home.env,
      HOME: '/nonexistent',
      POSTERN_ADDRESS: running.origin,
      POSTERN_CA_PIN: pin,
      POSTERN_TOKEN: token,
    },
  })
const file = async (name: string, text: string): Promise<string> => {
  const path = join(home.dir, name)
  await writeFile(path, text)
  return path
}
const parsed = (done: Finished): unknown => JSON.parse(done.stdout)

describe('an API key', () => {
  test('made, used by a program without a profile, listed, revoked', async () => {
    const add = await owner(['keys', 'add', 'ci', '--scope', 'token:create,list', '--json'])
    expect(add.stderr).toBe('')
    const { secret, id } = parsed(add) as { secret: string; id: string }

    const minted = await job(secret, ['tokens', 'add', '--type=node', '--json'])
    expect(minted.stderr).toBe('')
    expect(parsed(minted)).toMatchObject({ roles: ['Node'] })
    const text = await job(secret, ['tokens', 'add', '--type=node'])
    expect(text.stderr).toContain(`--proxy-server ${new URL(running.origin).host}`)

    expect((await job(secret, ['get', 'users'])).code).toBe(3)
    const who = await job(secret, ['whoami'])
    expect(who.stdout).toContain('API key  ci')
    expect(who.stdout).toContain('token: list, create')

    const listed = await owner(['keys', 'ls'])
    expect(listed.stdout).toMatch(/^ci .+ky_\w{26} +token:create,list$/m)
    expect(listed.stdout).not.toContain(secret)
    expect((await owner(['keys', 'rm', 'ci'])).stderr).toBe('key ci is revoked\n')
    expect((await job(secret, ['tokens', 'ls'])).code).toBe(3)
    expect((await owner(['keys', 'rm', id])).code).toBe(4)
    expect((await owner(['keys', 'rm', 'ci'])).code).toBe(4)
  })

  test('asked for wrongly says what is wrong', async () => {
    const wrong = await owner(['keys', 'add', 'x', '--scope', 'token'])
    expect(wrong.stderr).toContain('--scope: "token" is not of the form kinds:verbs')
    expect(wrong.code).toBe(2)
    const unknown = await owner(['keys', 'add', 'x', '--scope', 'tokens:create'])
    expect(unknown.stderr).toContain('scopes.0.resources.0')
    expect(unknown.code).toBe(2)
  })
})

// Somebody who has an address, an API key and the document, and nothing of ours.
test.skipIf(missing('curl'))(
  'the samples of the OpenAPI document can be pasted: a token by curl',
  async () => {
    const add = await owner(['keys', 'add', 'pasted', '--scope', 'token:*', '--json'])
    const { secret: KEY } = parsed(add) as { secret: string }
    const shell = (line: string): Promise<Finished> =>
      finish(
        spawn(
          'sh',
          ['-c', line.replaceAll('curl -sS', `${peer('curl')} -sS --cacert postern-data/ca.pem`)],
          {
            cwd: home.dir,
            env: { PATH: '/usr/bin:/bin', API: running.origin, KEY },
          },
        ),
      )
    interface Described {
      readonly servers: readonly { url: string }[]
      readonly paths: Record<
        string,
        Record<string, { 'x-codeSamples': readonly { source: string }[] }>
      >
    }
    const document = parsed(await shell('curl -sS "$API/v1/openapi.json"')) as Described
    expect(document.servers).toContainEqual({ url: running.origin })
    const sample = (method: string, path: string): string =>
      document.paths[path]?.[method]?.['x-codeSamples'][0]?.source ?? ''
    const minted = parsed(await shell(sample('post', '/v1/tokens'))) as {
      secret: string
      name: string
    }
    expect(minted.secret).toMatch(/^pst_join_/)
    const listed = parsed(await shell(sample('get', '/v1/tokens'))) as {
      items: { metadata: { name: string } }[]
    }
    expect(listed.items.map(({ metadata }) => metadata.name)).toContain(minted.name)
    const refused = parsed(await shell(sample('get', '/v1/users')))
    expect(refused).toMatchObject({ code: 'ERR_FORBIDDEN' })
    expect((await owner(['keys', 'rm', 'pasted'])).stderr).toBe('key pasted is revoked\n')
  },
)

describe('a CI job', () => {
  test('mints a token with the id token of its platform, after one file was applied', async () => {
    const key = signingKey('ES256')
    const issuer = 'https://ci.example.com'
    await file('minter.yaml', MINTER)
    const connector = {
      kind: 'oidc_connector',
      version: 'v1',
      metadata: { name: 'ci' },
      spec: {
        issuer,
        static_jwks: jwksOf(key),
        claims_to_roles: [{ claims: { repository: 'acme/web' }, roles: ['minter'] }],
      },
    }
    await file('connector.yaml', JSON.stringify(connector))
    expect((await owner(['create', '-f', 'minter.yaml'])).stdout).toBe('role/minter created\n')
    expect((await owner(['create', '-f', 'connector.yaml'])).stdout).toBe(
      'oidc_connector/ci created\n',
    )
    const now = Math.floor(Date.now() / 1000)
    const { cluster } = parsed(await owner(['status', '--json'])) as { cluster: string }
    const token = (repository: string) =>
      signIdToken(key, {
        iss: issuer,
        sub: `repo:${repository}`,
        aud: cluster,
        repository,
        iat: now,
        exp: now + 300,
      })
    const minted = await job(token('acme/web'), ['tokens', 'add', '--type=app', '--json'])
    expect(minted.stderr).toBe('')
    expect(parsed(minted)).toMatchObject({ roles: ['App'] })
    const refused = await job(token('evil/web'), ['tokens', 'add', '--type=app'])
    expect(refused.code).toBe(3)
    expect(refused.stderr).toContain('Sign in first')

    const log = await owner(['events', '--type', 'token.create', '--json', '--limit', '1'])
    expect(parsed(log)).toMatchObject([
      { actor: 'oidc/ci/repo:acme/web', fields: { issuer, subject: 'repo:acme/web' } },
    ])
    const why = await owner(['events', '--type', 'operator.refused', '--limit', '1'])
    expect(why.stdout).toContain('no rule of connector ci fits repo:evil/web')
  })
})

describe('a user with a certificate', () => {
  const as = (args: readonly string[], env: Record<string, string> = {}): Promise<Finished> =>
    postern([...args, '--profile', join(home.dir, 'ed')], {
      cwd: home.dir,
      env: { ...home.env, ...env },
    })
  beforeAll(async () => {
    await file('pw', 'correct horse battery staple')
    await owner(['users', 'add', 'ed', '--roles=editor,auditor', '--password-file', 'pw'])
    const args = ['login', '--proxy', running.origin, '--ca-pin', pin, '--user', 'ed']
    const done = await as([...args, '--password-file', 'pw'])
    expect(done.code, done.stderr).toBe(0)
  })

  test('uses every verb of an operator by signed requests alone', async () => {
    expect(parsed(await as(['whoami', '--json']))).toMatchObject({ kind: 'user', name: 'ed' })
    const role = await file('dev.yaml', MINTER.replace('minter', 'dev'))
    const done: [string, Finished][] = []
    for (const args of [
      ['tokens', 'add', '--type=node', '--name', 'by-ed'],
      ['tokens', 'ls', '--json'],
      ['tokens', 'rm', 'by-ed'],
      ['keys', 'add', 'eds', '--scope', 'event:list'],
      ['keys', 'ls', '--json'],
      ['keys', 'rm', 'eds'],
      ['create', '-f', role],
      ['create', '-f', role],
      ['get', 'role/dev', '--json'],
      ['get', 'users', '--json'],
      ['rm', 'role/dev'],
      ['lock', '--user', 'mallory', '--ttl', '1h', '--json'],
      ['get', 'locks', '--json'],
      ['get', 'agents', '--json'],
      ['get', 'nodes', '--json'],
      ['ls', '--json'],
      ['events', '--user', 'ed', '--json'],
      ['status', '--json'],
    ])
      done.push([args.join(' '), await as(args)])
    expect(done.filter(([, { code }]) => code !== 0)).toEqual([])
    for (const [what, { stdout }] of done)
      if (what.includes('--json')) expect(() => JSON.parse(stdout) as unknown, what).not.toThrow()
    const log = done.find(([what]) => what.startsWith('events'))?.[1].stdout ?? ''
    for (const type of ['token.create', 'token.revoke', 'key.create', 'role.put', 'lock.create'])
      expect(log).toContain(type)
  })

  test('edits a role in an editor; a mistake keeps the text, no change sends nothing', async () => {
    await as(['create', '-f', await file('qa.yaml', MINTER.replace('minter', 'qa'))])
    const done = await as(['edit', 'role/qa'], { EDITOR: 'sed -i s/create/delete/' })
    expect(done.stdout).toBe('role/qa applied\n')
    expect((await as(['get', 'role/qa'])).stdout).toContain('- delete')
    const same = await as(['edit', 'role/qa'], { EDITOR: 'true' })
    expect(same).toMatchObject({ code: 0, stdout: '', stderr: 'role/qa is unchanged\n' })
    const wrong = await as(['edit', 'role/qa'], { EDITOR: 'sed -i s/delete/destroy/' })
    expect(wrong.code).toBe(2)
    const [, kept = ''] = /your text is in (\S+);/.exec(wrong.stderr) ?? []
    expect(await readFile(kept, 'utf8')).toContain('destroy')
    expect((await as(['edit', 'role/qa'], { EDITOR: 'false' })).code).toBe(2)
    expect((await as(['edit', 'lock/x'])).code).toBe(2)
    expect((await as(['edit', 'role/none'], { EDITOR: 'true' })).code).toBe(4)
  })

  test('does not overwrite what somebody else changed meanwhile', async () => {
    const other = MINTER.replace('minter', 'qa').replace('[create]', '[read]')
    await file('other.yaml', other)
    const script = await file(
      'editor.sh',
      `${process.execPath} ${join(CHECKOUT, 'bin/postern.mjs')} create -f other.yaml --profile ./ed\nsed -i s/delete/list/ "$1"\n`,
    )
    const done = await as(['edit', 'role/qa'], { EDITOR: `sh ${script}` })
    expect(done.stderr).toContain('changed by somebody meanwhile')
    expect((await as(['get', 'role/qa'])).stdout).toContain('- read')
  })
})

// A lock on the owner of the data directory must not be the end of the cluster, nor go away by a mere restart.
describe('an owner who is locked', () => {
  const restart = async (...more: string[]): Promise<void> => {
    // At its address: who is not let in keeps the profile of before.
    const { host } = new URL(running.origin)
    await running.stop()
    const args = ['--data-dir', 'postern-data', '--listen', host, '--no-agent']
    running = await up(home, [...args, ...more])
  }
  const me = async (): Promise<string> => {
    const profile = await readFile(join(home.dir, 'postern-data/profile/profile.json'), 'utf8')
    return (JSON.parse(profile) as { user: string }).user
  }
  const keyOf = () => readFile(join(home.dir, 'postern-data/profile/operator.key'), 'utf8')

  test('has a cluster that serves all others, and the way back in is asked for, and audited', async () => {
    const user = await me()
    await file('pw', 'correct horse battery staple')
    await owner(['users', 'add', 'zoe', '--roles=access', '--password-file', 'pw'])
    await owner(['lock', '--user', user, '--message', 'laptop lost'])
    expect((await owner(['tokens', 'ls'])).code).toBe(3)

    await restart()
    expect(running.screen).toContain(`you are         ${user}, locked; postern up --break-glass`)
    expect((await owner(['tokens', 'ls'])).code).toBe(3)
    const zoe = ['--profile', './zoe', '--proxy', running.origin, '--ca-pin', pin, '--user', 'zoe']
    const login = await owner(['login', ...zoe, '--password-file', 'pw'])
    expect(login.code, login.stderr).toBe(0)

    const old = await keyOf()
    await restart('--break-glass')
    expect(running.screen).toContain(`you are         ${user}, certificate for 12 hours`)
    expect((await owner(['tokens', 'ls'])).code).toBe(0)
    expect(await keyOf()).not.toBe(old)
    const log = parsed(await owner(['events', '--type', 'lock.delete', '--json']))
    expect(log).toMatchObject([
      {
        actor: user,
        resource: `user/${user}`,
        reason: expect.stringContaining('break-glass') as string,
      },
    ])
  })

  test('or whose role was emptied, is let back in as well', async () => {
    const editor = MINTER.replace('minter', 'editor')
    await owner(['create', '-f', await file('editor.yaml', editor)])
    expect((await owner(['get', 'users'])).code).toBe(3)
    await restart()
    expect(running.screen).toContain('without the rights of an operator; postern up --break-glass')
    await restart('--break-glass')
    expect((await owner(['get', 'users'])).code).toBe(0)
    const log = parsed(await owner(['events', '--type', 'role.put', '--limit', '1', '--json']))
    expect(log).toMatchObject([
      { resource: 'role/editor', reason: expect.stringContaining('break') as string },
    ])
  })
})

const MINTER = `kind: role
version: v7
metadata: { name: minter }
spec: { allow: { rules: [{ resources: [token], verbs: [create] }] } }
`
