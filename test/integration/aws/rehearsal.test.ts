/**
 * The first evening with a deployed cluster, without an account: bootstrap by AWS credentials, mint by curl, agents join by token and by
 * `iam`, a tunnel, an ssh session. The control plane is the bundles of the template in processes of their own; each AWS call that they
 * make must be allowed by the policies of that template.
 */
import type { ChildProcess } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  balancer,
  startCloudProxy,
  type Balancer,
  type CloudProxy,
} from '../../support/aws/proxy.ts'
import { openCloud, type Cloud } from '../../support/aws/cloud.ts'
import { unusedGrants, wideGrants } from '../../support/aws/iam.ts'
import { ACCOUNT, REGION } from '../../support/aws/template.ts'
import { missing, peer } from '../../support/peers.ts'
import {
  CHECKOUT,
  BIN,
  finish,
  postern,
  shell,
  start,
  temporaryHome,
  type Home,
} from '../cli/postern.ts'

const LOGIN = userInfo().username

/** Grants that this flow does not need, and what does. What is missing here must go from key-access.ts, or come with its reason. */
const NOT_NEEDED_HERE: readonly (readonly [grant: RegExp, needed: string])[] = [
  [/^\w+ logs:/, 'what functions write to their own log'],
  [
    /^\w+ (read|write) (APIKEY|KEYID)#\*$/,
    'API keys are listed, made and revoked by operators; all verbs know their callers',
  ],
  [/^api write (KEY|TUNNEL)#\*$/, 'an agent is removed'],
  [/^(archive|rotate) /, 'run by the clock, or rarely: not here'],
  [/^api write ROLE#\*$/, 'a role is changed; here it stays as it is'],
  [
    /^api (read|write) (CONNECTOR|ISSUER)#\*$/,
    'callers with id tokens: there is no connector here',
  ],
  [/^policy read LIST#\*$/, 'a lock on a token: which agents joined by it'],
  [/^api read POLICY#version$/, 'presence reads it with the leases'],
  [/^api read IDEM#\*$/, 'a repeat that finds the first call still running'],
  [/^join (read|write) BOUND#\*$/, 'method bound_keypair'],
  [/^join (read|write) (LOCK|LOCKED)#\*$/, 'a copied identity locks its agent'],
  [/^join write POLICY#version$/, 'that lock reaches everyone'],
  [
    /^join (read NAME|write ONCE)#\*$/,
    'names are claimed again; evidence of bearer methods is spent',
  ],
  [
    /^login (read LOCK|read PASSWORD|write ONCE)#\*$/,
    'a sign-in by password; a signed write is spent',
  ],
  [
    /^policy write POLICY#version$/,
    'a policy that nothing changed is signed anew at half of its life',
  ],
]

// A dozen processes take part: a machine that does something else besides needs its time.
describe.skipIf(missing('ssh', 'curl'))(
  'a deployed cluster, rehearsed',
  { timeout: 240_000 },
  () => {
    let cloud: Cloud
    let front: Balancer
    let proxy: CloudProxy | undefined
    let home: Home
    let ca: string
    let deployer: Record<string, string>
    let operatorKey = ''
    const agents: { child: ChildProcess; ended: ReturnType<typeof finish> }[] = []

    beforeAll(async () => {
      home = await temporaryHome()
      front = await balancer()
      cloud = await openCloud({ cluster: 'cloud.example', proxies: [front.address] })
      ca = join(home.dir, 'ca.pem')
      writeFileSync(ca, cloud.api.ca)
      deployer = cloud.caller('deployer', true)
    }, 120_000)
    afterAll(async () => {
      for (const { child, ended } of agents) {
        child.kill('SIGTERM')
        await ended
      }
      await proxy?.close()
      await cloud?.close()
      await front?.close()
      await home?.remove()
    })

    const run = (args: readonly string[], env: Record<string, string> = {}) =>
      postern(args, {
        cwd: home.dir,
        env: { ...home.env, NODE_EXTRA_CA_CERTS: ca, ...env },
      })
    const curl = async (method: string, path: string, body?: unknown, headers: string[] = []) => {
      const done = await finish(
        start(
          peer('curl'),
          [
            '-sS',
            '--cacert',
            ca,
            '-X',
            method,
            '-w',
            '\n%{http_code}',
            ...headers.flatMap((h) => ['-H', h]),
            ...(body === undefined
              ? []
              : ['-H', 'content-type: application/json', '-d', JSON.stringify(body)]),
            cloud.api.url + path,
          ],
          { env: home.env },
        ),
      )
      const at = done.stdout.lastIndexOf('\n')
      const text = done.stdout.slice(0, at)
      return {
        status: Number(done.stdout.slice(at + 1)),
        body: (text === '' ? undefined : JSON.parse(text)) as Record<string, unknown>,
      }
    }
    const operator = () => [`authorization: Bearer ${operatorKey}`]
    const events = async (type: string) =>
      ((await curl('GET', `/v1/events?type=${type}`, undefined, operator())).body['items'] ??
        []) as {
        outcome: string
        actor: string
        reason?: string
        fields: Record<string, unknown>
      }[]

    /** Lets machines of a role join, in any number. */
    async function iamToken(name: string, roles: readonly string[], role: string) {
      const allow = [
        { aws_account: ACCOUNT, aws_arn: `arn:aws:sts::${ACCOUNT}:assumed-role/${role}/*` },
      ]
      const minted = await curl(
        'POST',
        '/v1/tokens',
        {
          kind: 'token',
          version: 'v2',
          metadata: { name },
          spec: { roles, join_method: 'iam', max_uses: null, allow },
        },
        operator(),
      )
      expect(minted.status, JSON.stringify(minted.body)).toBe(201)
    }

    /** A real agent process, until it is online. */
    async function agent(name: string, join_: string, env: Record<string, string> = {}) {
      const file = join(home.dir, `${name}.yaml`)
      writeFileSync(
        file,
        [
          'version: v1',
          'postern:',
          `  nodename: ${name}`,
          `  data_dir: ${join(home.dir, name)}`,
          `  proxy_server: ${cloud.api.url.replace('https://', '')}`,
          `  ${join_}`,
          'ssh_service: { enabled: true, labels: { env: prod } }',
          `app_service: { enabled: true, apps: [{ name: ${name}-app, uri: 'tcp://127.0.0.1:1' }] }`,
        ].join('\n'),
      )
      const child = start(process.execPath, [BIN, 'agent', 'start', '-c', file], {
        cwd: CHECKOUT,
        env: { PATH: process.env['PATH'] ?? '', HOME: home.dir, NODE_EXTRA_CA_CERTS: ca, ...env },
      })
      const ended = finish(child)
      agents.push({ child, ended })
      const gone = ended.then(({ stderr }) => {
        throw new Error(`the agent ended: ${stderr}`)
      })
      for (;;) {
        const { body } = await Promise.race([
          curl('GET', `/v1/nodes/${name}`, undefined, operator()),
          gone,
          ...(proxy ? [proxy.ended] : []),
        ])
        if ((body['status'] as { online?: boolean } | undefined)?.online) return
      }
    }

    test('before bootstrap every route says that the cluster is not set up, and who may set it up', async () => {
      const [ping, join_, certs, policy] = await Promise.all([
        curl('GET', '/v1/ping'),
        curl('POST', '/v1/join', {}),
        curl('POST', '/v1/certs', {}),
        curl('GET', '/v1/policy'),
      ])
      for (const { status, body } of [ping, join_, certs, policy])
        expect({ status, code: body?.['code'] }).toEqual({ status: 503, code: 'ERR_CLUSTER_NEW' })
    })

    test('nobody without AWS rights on the API gets an operator key', async () => {
      const unsigned = await curl('POST', '/v1/bootstrap', { user: 'mallory' })
      expect(unsigned).toEqual({ status: 403, body: { message: 'Forbidden' } })
      const stranger = cloud.caller('stranger', false)
      const refused = await run(['bootstrap', '--stack', 'Postern'], stranger)
      expect(refused).toMatchObject({ code: 3, stdout: '' })
      expect(refused.stderr).toContain('execute-api:Invoke')
      const wrong = { ...deployer, AWS_SECRET_ACCESS_KEY: 'not/it' }
      expect((await run(['bootstrap', '--stack', 'Postern'], wrong)).code).toBe(5)
      const none = await run(['bootstrap', '--stack', 'Other'], deployer)
      expect(none).toMatchObject({ code: 4 })
      expect(none.stderr).toContain(`no stack Other in ${REGION}`)
    })

    test('the command of the stack output makes cluster, user and key, and signs in', async () => {
      const [, ...args] = (cloud.deployed.outputs['FirstOperator'] ?? '').split(' ').slice(0)
      expect(args.slice(0, 4)).toEqual(['postern', 'bootstrap', '--stack', 'Postern'])
      const done = await run([...args.slice(1), '--user', 'ann', '--logins', LOGIN], deployer)
      expect(done).toMatchObject({ code: 0 })
      operatorKey = /pst_key_[A-Za-z0-9_-]{43}/.exec(done.stdout)?.[0] ?? ''
      expect(done.stdout).toContain('cluster  cloud.example, made just now')
      const status = await run(['status', '--json'])
      expect(JSON.parse(status.stdout)).toMatchObject({ cluster: 'cloud.example', user: 'ann' })
      const [event] = await events('operator.bootstrap')
      expect(event).toMatchObject({
        outcome: 'ok',
        fields: { arn: `arn:aws:iam::${ACCOUNT}:user/deployer` },
      })
    })

    test('again it is break-glass: another key, the same cluster', async () => {
      const done = await run(
        ['bootstrap', '--stack', 'Postern', '--user', 'ann', '--logins', LOGIN, '--json'],
        deployer,
      )
      expect(done).toMatchObject({ code: 0 })
      const made = JSON.parse(done.stdout) as Record<string, string>
      expect(made).toMatchObject({ cluster: 'cloud.example', created: false, user: 'ann' })
      expect(made['operator_key']).not.toBe(operatorKey)
    })

    test('an agent joins with a token that was minted by curl, and ssh reaches it', async () => {
      await iamToken('proxies', ['Proxy'], 'PosternProxy')
      proxy = await startCloudProxy({ cloud, front, token: 'proxies', ca })
      const minted = await curl('POST', '/v1/tokens', { roles: ['Node', 'App'] }, operator())
      expect(minted.status).toBe(201)
      // The gateway's certificate is of a public CA; the pin, which tokens add prints, is the host CA's.
      const [pin] = minted.body['ca_pins'] as string[]
      await agent('web-1', `auth_token: ${String(minted.body['secret'])}\n  ca_pin: ${pin}`)
      const done = await run(['ssh', `${LOGIN}@web-1`, 'echo "$((6 * 7))"; exit 7'])
      expect(done).toMatchObject({ stdout: '42\n', code: 7 })
      const config = join(home.dir, '.postern/cloud.example/ssh_config')
      const plain = await shell(`ssh -F '${config}' ${LOGIN}@web-1 id -un`, {
        cwd: home.dir,
        env: { ...home.env, NODE_EXTRA_CA_CERTS: ca },
      })
      expect(plain).toMatchObject({ stdout: `${LOGIN}\n`, code: 0 })
    })

    test('an agent joins by iam with the role of its instance, and nobody else by its rule', async () => {
      const arn = `arn:aws:sts::${ACCOUNT}:assumed-role/web/i-0123456789abcdef0`
      cloud.sts.principals.set('ASIAEXAMPLEROLEOFWEB', {
        secretAccessKey: 'temporary',
        sessionToken: 'of+the/role==',
        account: ACCOUNT,
        arn,
      })
      await iamToken('web-fleet', ['Node', 'App'], 'web')
      await agent('web-2', 'join_params: { method: iam, token_name: web-fleet }', {
        AWS_ACCESS_KEY_ID: 'ASIAEXAMPLEROLEOFWEB',
        AWS_SECRET_ACCESS_KEY: 'temporary',
        AWS_SESSION_TOKEN: 'of+the/role==',
        AWS_REGION: REGION,
      })
      const joins = await events('agent.join')
      expect(joins.find((e) => e.fields['node'] === 'web-2')).toMatchObject({
        outcome: 'ok',
        fields: { method: 'iam', subject: arn },
      })
      expect((await run(['ssh', `${LOGIN}@web-2`, 'true'])).code).toBe(0)
      // The agent's own events come by an upload in its own time.
      while (!(await events('session.end')).some((e) => e.actor === 'ann'))
        await events('session.end')
    })

    test('a service that leaves its agent gives its credential back', async () => {
      const file = join(home.dir, 'web-2.yaml')
      writeFileSync(file, readFileSync(file, 'utf8').replace(/^app_service:.*$/m, ''))
      agents[1]?.child.kill('SIGHUP')
      const left = { outcome: 'ok', fields: { service: 'app' } }
      await expect.poll(() => events('agent.leave')).toMatchObject([left])
    })

    test('what operators do every day is allowed to the function that does it', async () => {
      const as = operator()
      const send = async (method: string, path: string, body?: unknown, headers: string[] = []) => {
        const { status, body: answer } = await curl(method, path, body, [...as, ...headers])
        expect(status, `${method} ${path}: ${JSON.stringify(answer)}`).toBeLessThan(300)
        return answer
      }
      const user = (name: string) => ({
        kind: 'user',
        version: 'v2',
        metadata: { name },
        spec: { roles: ['access'], traits: { logins: ['bob'] }, password: 'correct horse battery' },
      })
      // The name is percent-encoded on the way in, and the gateway hands it on decoded.
      await send('PUT', '/v1/users/bob%40example.com', user('bob@example.com'))
      await send('GET', '/v1/users/bob%40example.com')
      await send('GET', '/v1/users')
      await send('POST', '/v1/tokens', { roles: ['Node'], name: 'once' }, ['idempotency-key: k-1'])
      await send('POST', '/v1/tokens', { roles: ['Node'], name: 'once' }, ['idempotency-key: k-1'])
      await send('GET', '/v1/tokens')
      await send('DELETE', '/v1/tokens/once')
      for (const kind of ['nodes', 'apps', 'agents', 'roles', 'locks', 'events'])
        await send('GET', `/v1/${kind}`)
      const lock = await send('POST', '/v1/locks', {
        target: { user: 'bob@example.com' },
        ttl: '1h',
      })
      await send('DELETE', `/v1/locks/${(lock['metadata'] as { name: string }).name}`)
      await send('DELETE', '/v1/users/bob%40example.com')
      const role = await send('GET', '/v1/roles/auditor')
      await send('PUT', '/v1/roles/auditor', role)
      // A signed request with an encoded path, through the command.
      const nobody = await run(['get', 'user/nobody@example.com'])
      expect(nobody).toMatchObject({ code: 4 })
    })

    test('keys of JWTs and of database clients are made when the deployer asks, once', async () => {
      const rotate = cloud.deployed.functions.find(({ id }) => id.startsWith('rotate'))
      const invoke = async (source: string) => {
        const said = await cloud.lambda.invoke(rotate?.arn ?? '', { source })
        if (said.kind !== 'answer') throw new Error(said.message)
        return said.value as Record<string, unknown>
      }
      const ask = async () =>
        (await invoke('postern.jwt')) as { readonly jwk: Record<string, unknown> }
      const known = async () => (await curl('GET', '/.well-known/jwks.json')).body['keys']
      expect(await known()).toEqual([])
      const made = await ask()
      expect(made).toMatchObject({ jwk: { kty: 'EC', crv: 'P-256' } })
      expect(await ask()).toEqual(made)
      await expect.poll(known, { timeout: 15_000 }).toEqual([expect.objectContaining(made.jwk)])
      const ca = await invoke('postern.db_client')
      expect(ca['certificate']).toMatch(/^-----BEGIN CERTIFICATE-----/)
      expect(await invoke('postern.db_client')).toEqual(ca)
    })

    // Break-glass: functions, gateway and KMS are away. docs/operations/run.md says how long what holds.
    test('while the control plane is away, ssh goes on where the route is still good', async () => {
      expect((await run(['ssh', `${LOGIN}@web-1`, 'true'])).code).toBe(0)
      cloud.api.down = true
      try {
        const again = await run(['ssh', `${LOGIN}@web-1`, 'echo "$((6 * 7))"'])
        expect(again).toMatchObject({ stdout: '42\n', code: 0 })
        const asks = await run(['ls'])
        expect(asks).toMatchObject({ code: 5, stdout: '' })
      } finally {
        cloud.api.down = false
      }
    })

    // The next step down: functions and proxies have no table. A lease lasts 20 seconds; what runs does not ask.
    test('while the table is away as well, a session that runs goes on', async () => {
      const child = start(process.execPath, [BIN, 'ssh', `${LOGIN}@web-1`, 'cat'], {
        cwd: home.dir,
        env: { ...home.env, NODE_EXTRA_CA_CERTS: ca },
      })
      let heard = ''
      const line = (text: string) =>
        new Promise<void>((resolve, reject) => {
          const look = (piece: Buffer) => {
            heard += piece.toString()
            if (!heard.includes(text)) return
            child.stdout?.off('data', look)
            resolve()
          }
          child.stdout?.on('data', look)
          child.once('close', () => reject(new Error(`ssh ended: ${heard}`)))
          child.stdin?.write(`${text}\n`)
        })
      await line('before')
      cloud.aws.down = true
      try {
        await line('while it is away')
        expect((await curl('GET', '/v1/nodes', undefined, operator())).status).toBeGreaterThan(499)
      } finally {
        cloud.aws.down = false
      }
      await line('after')
      const ended = new Promise((resolve) => child.once('close', resolve))
      child.stdin?.end()
      expect(await ended).toBe(0)
    })

    test('the gateway keeps its limits, and answers for itself', async () => {
      const big = join(home.dir, 'big')
      writeFileSync(big, Buffer.alloc(11 * 1024 * 1024, 0x20))
      const post = async (file: string) =>
        finish(
          start(
            peer('curl'),
            [
              '-sS',
              '--cacert',
              ca,
              '-o',
              '/dev/null',
              '-w',
              '%{http_code}',
              '-H',
              'content-type: application/json',
              '--data-binary',
              `@${file}`,
              `${cloud.api.url}/v1/join`,
            ],
            { env: home.env },
          ),
        )
      expect((await post(big)).stdout).toBe('413')
      const medium = join(home.dir, 'medium')
      writeFileSync(medium, Buffer.alloc(300 * 1024, 0x20))
      expect((await post(medium)).stdout).toBe('413')
      const wide = await curl('GET', '/v1/ping', undefined, [`x-wide: ${'x'.repeat(11_000)}`])
      expect(wide.status).toBe(431)
      const unknown = await curl('GET', '/nothing')
      expect(unknown).toMatchObject({ status: 404, body: { code: 'ERR_NOT_FOUND' } })
      expect(cloud.api.largestHeaders()).toBeGreaterThan(1_000)
    })

    test('every AWS call was signed, and allowed by the policies of the template', () => {
      expect(cloud.aws.unsigned).toEqual([])
      expect(cloud.aws.calls.flatMap((call) => call.refused)).toEqual([])
      const callers = new Set(cloud.aws.calls.map((call) => call.who))
      expect([...callers].sort()).toEqual([
        'api',
        'bootstrap',
        'join',
        'login',
        'policy',
        'proxy',
        'rotate',
      ])
    })

    test('no function but its own signed with a CA key', () => {
      const signing = cloud.aws.calls.filter((call) => call.operation === 'Sign')
      const byKey = new Map<string, Set<string>>()
      for (const { who, input } of signing) {
        const key = cloud.deployed.keys.find(({ arn }) => arn === input['KeyId'])?.id ?? 'by tag'
        byKey.set(key, (byKey.get(key) ?? new Set()).add(who))
      }
      const shown = [...byKey].map(([key, who]) => [key.replace(/[0-9A-F]{8}$/, ''), ...who])
      expect(shown.sort()).toEqual([
        ['HostCaKey', 'join'],
        ['PolicyKey', 'policy'],
        ['UserCaKey', 'login'],
        // A key of its own making: the CA of database clients certified itself.
        ['by tag', 'rotate'],
      ])
    })

    test('no grant is wide; those that nothing here needed are listed', () => {
      const unused: string[] = []
      for (const fn of cloud.deployed.functions) {
        // A rotation makes keys, which have no name before: it is held to their tags.
        const wide = fn.id.startsWith('rotate') ? ['*'] : []
        expect([...new Set(wideGrants(fn.policies))], fn.id).toEqual(wide)
        const who = fn.id.replace(/Function[0-9A-F]{8}$/, '')
        const requests = cloud.aws.calls.filter((c) => c.who === who).flatMap((c) => c.requests)
        unused.push(...unusedGrants(fn.policies, requests).map((grant) => `${who} ${grant}`))
      }
      const unknown = unused.filter(
        (grant) => !NOT_NEEDED_HERE.some(([known]) => known.test(grant)),
      )
      expect(unknown).toEqual([])
    })

    test('no secret is in what the functions wrote', async () => {
      for (const [name, text] of cloud.lambda.output)
        expect(text, name).not.toMatch(/pst_(key|join)_[A-Za-z0-9_-]{8}|PRIVATE KEY|correct horse/)
    })
  },
)
