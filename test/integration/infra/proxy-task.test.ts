// The program that a proxy's container runs, as the task definition carries it, against services that check every signature.
import { spawn, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { proxyProgram } from '../../../infra/constructs/proxy-program.ts'
import type { TaskSettings } from '../../../infra/proxy-task/task.ts'
import { fakeAws } from '../../fakes/aws.ts'

const aws = await fakeAws()
const dir = mkdtempSync(join(tmpdir(), 'postern-task-'))
const open: Server[] = []
const running: ChildProcess[] = []
afterAll(async () => {
  for (const child of running) child.kill('SIGKILL')
  for (const server of open) {
    server.closeAllConnections()
    server.close()
  }
  await aws.close()
  rmSync(dir, { recursive: true, force: true })
})

async function serve(answer: (path: string) => string): Promise<number> {
  const server = createServer((request, response) => response.end(answer(request.url ?? '')))
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}
const ecs = await serve((path) =>
  path === '/credentials'
    ? JSON.stringify({
        AccessKeyId: aws.key.id,
        SecretAccessKey: aws.key.secret,
        Token: aws.key.token,
      })
    : JSON.stringify({ Networks: [{ IPv4Addresses: ['10.94.0.7'] }] }),
)
const diag = await serve((path) =>
  path === '/metrics' ? 'postern_proxy_tunnels{kind="agent"} 2\n' : '{}',
)

/** Stands for the proxy: says how it was called and what its file says, ends when it is told to. */
const PROGRAM = Buffer.from(`
import { readFileSync } from 'node:fs'
const [, , ...args] = process.argv
process.on('SIGTERM', () => { console.log('drained'); process.exit(0) })
console.log(JSON.stringify({ started: args.slice(0, 3), file: JSON.parse(readFileSync(args[3], 'utf8')), told: process.env.POSTERN_TASK ?? null }))
setInterval(() => undefined, 1000)
`)
const sha256 = createHash('sha256').update(PROGRAM).digest('hex')
aws.objects.set('/assets/proxy.mjs', PROGRAM)

const settings: TaskSettings = {
  region: 'eu-west-1',
  api: 'https://api.example.com',
  table: 'postern-table',
  tokenName: 'postern-proxy',
  address: 'access.example.com:443',
  port: 3080,
  diagPort: diag,
  drainSeconds: 100,
  workers: 1,
  cluster: 'example',
  bundle: { bucket: 'assets', key: 'proxy.mjs', sha256 },
  endpoints: { s3: aws.origin, ec2: aws.origin, route53: aws.origin },
}
const program = proxyProgram()

function start(change: Partial<TaskSettings>, name: string) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    env: {
      PATH: process.env['PATH'],
      POSTERN_TASK: JSON.stringify({ ...settings, ...change }),
      POSTERN_TASK_DIR: join(dir, name),
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://127.0.0.1:${ecs}/credentials`,
      ECS_CONTAINER_METADATA_URI_V4: `http://127.0.0.1:${ecs}/v4`,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.push(child)
  let out = ''
  const waiting = new Set<() => void>()
  const add = (chunk: Buffer): void => {
    out += chunk.toString()
    for (const look of waiting) look()
  }
  child.stdout.on('data', add)
  child.stderr.on('data', add)
  const line = (pattern: RegExp): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = out.split('\n').find((one) => pattern.test(one))
        if (found !== undefined) resolve(found)
      }
      waiting.add(look)
      child.once('close', () => {
        look()
        reject(new Error(`ended without ${pattern.source}:\n${out}`))
      })
      look()
    })
  return { child, line, ended: once(child, 'close'), out: () => out }
}

test('fetches the proxy with the role of the task, starts it with its file, passes SIGTERM on', async () => {
  const { child, line, ended } = start({}, 'standard')
  const said = JSON.parse(await line(/^\{"started"/)) as {
    started: string[]
    told: unknown
    file: unknown
  }
  expect(said.started).toEqual(['serve', 'proxy', '-c'])
  expect(said.told).toBeNull()
  expect(said.file).toMatchObject({
    postern: {
      api_server: 'https://api.example.com',
      join_params: { method: 'iam', token_name: 'postern-proxy' },
    },
    proxy_service: {
      listen_addr: '0.0.0.0:3080',
      public_addr: ['access.example.com:443'],
      peer_addr: '10.94.0.7:3080',
      drain_timeout: '100s',
      workers: 1,
    },
  })
  child.kill('SIGTERM')
  await line(/^drained$/)
  expect(await ended).toEqual([0, null])
})

// What it stops: whoever can write to the bucket, but not to the task definition, runs code in the proxies.
test('a proxy with another hash is not started', async () => {
  const { ended, out } = start(
    { bundle: { ...settings.bundle, sha256: '0'.repeat(64) } },
    'tampered',
  )
  expect(await ended).toEqual([1, null])
  expect(out()).toContain('is not the one that was deployed')
  expect(out()).not.toContain('"started"')
  expect(() => readFileSync(join(dir, 'tampered/proxy.mjs'))).toThrow()
})

test('a bundle that is not there ends the task with the reason, and no secret in it', async () => {
  const { ended, out } = start({ bundle: { ...settings.bundle, key: 'gone.mjs' } }, 'gone')
  expect(await ended).toEqual([1, null])
  expect(out()).toContain('s3 answered 404')
  expect(out()).not.toContain(aws.key.secret)
  expect(out()).not.toContain(aws.key.token)
})

test('profile small: once it is ready, the name is moved to the address that the world sees', async () => {
  aws.answer(
    'ec2',
    '<a><privateIpAddress>10.94.0.7</privateIpAddress><association><publicIp>192.0.2.44</publicIp></association></a>',
  )
  const { child, line, ended } = start(
    { dns: { zone: 'Z0123456789', name: 'access.example.com' } },
    'small',
  )
  expect(JSON.parse(await line(/task\.name_moved/))).toMatchObject({ address: '192.0.2.44' })
  const change = aws.calls.find((call) => call.service === 'route53')
  expect(change?.path).toBe('/2013-04-01/hostedzone/Z0123456789/rrset')
  expect(change?.body).toContain(
    '<Action>UPSERT</Action><ResourceRecordSet><Name>access.example.com.</Name><Type>A</Type><TTL>30</TTL>',
  )
  expect(change?.body).toContain('<Value>192.0.2.44</Value>')
  child.kill('SIGTERM')
  await ended
})
