/** `postern doctor --aws` as a command, against an account that has what the templates say, and then has not. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fakeAccount, stackOf, type FakeAccount } from '../../fakes/account.ts'
import { deployment } from '../../support/deployment.ts'
import { publicFront, type PublicFront } from '../../support/public-front.ts'
import { openGate, type Gate } from '../agent/gate.ts'
import { postern, temporaryHome, type Home } from './postern.ts'

let home: Home
let gate: Gate
let front: PublicFront
let account: FakeAccount
const TABLE = 'Postern-Table'

beforeAll(async () => {
  home = await temporaryHome()
  gate = await openGate()
  front = await publicFront(() => gate.cluster.plane)
  writeFileSync(join(home.dir, 'ca.pem'), front.ca)
  const made = deployment({ domain: 'access.example.com', zone: 'Z0123456789ABCDEFGHIJ' })
  const plane = made.template('plane')
  const [records = ''] = Object.keys(plane.findResources('AWS::S3::Bucket'))
    .filter((id) => !id.includes('AccessLog'))
    .map((id) => `Postern-${id}`)
  account = await fakeAccount({
    stacks: [
      stackOf('Postern', plane, {
        ApiUrl: `https://${front.address}`,
        RecordsBucket: records,
        Cluster: gate.cluster.plane.cluster,
        TableName: TABLE,
        FirstOperator: 'npx postern bootstrap --stack Postern --region eu-west-1',
      }),
      stackOf('PosternProxies', made.template('proxies'), { ProxyAddress: gate.cluster.address }),
    ],
    table: TABLE,
    cluster: gate.cluster.plane.cluster,
    callers: new Map([['AKIADEPLOYER', { secretAccessKey: 'of/the+deployer' }]]),
  })
}, 60_000)
afterAll(async () => {
  await account?.close()
  front?.close()
  await gate?.close()
  await home?.remove()
})

interface Finding {
  readonly check: string
  readonly target: string
  readonly status: string
  readonly detail: string
  readonly fix?: string
}
async function doctor(env: Record<string, string> = {}, at = account) {
  const done = await postern(['doctor', '--aws', '--region', 'eu-west-1', '--json'], {
    cwd: home.dir,
    env: {
      ...home.env,
      NODE_EXTRA_CA_CERTS: join(home.dir, 'ca.pem'),
      AWS_ENDPOINT_URL: at.url,
      AWS_ACCESS_KEY_ID: 'AKIADEPLOYER',
      AWS_SECRET_ACCESS_KEY: 'of/the+deployer',
      AWS_EC2_METADATA_DISABLED: 'true',
      ...env,
    },
  })
  const { checks } = JSON.parse(done.stdout || '{"checks":[]}') as { checks: Finding[] }
  const of = (check: string, target = '') => {
    const found = checks.find((c) => c.check === check && c.target.includes(target))
    if (!found) throw new Error(`no check ${check} ${target}: ${done.stdout}${done.stderr}`)
    return found
  }
  return { ...done, checks, of, bad: checks.filter((c) => c.status !== 'ok') }
}

test('a whole deployment is good, and everything that it is made of was looked at', async () => {
  const seen = await doctor()
  // No postern:alarmEmail in this one.
  expect(seen.bad.map((c) => `${c.check} ${c.status} ${c.detail}`)).toEqual([
    'alarm mail warn alarms are seen in CloudWatch only',
  ])
  expect(seen.code).toBe(0)
  const checks = new Set(seen.checks.map((c) => c.check))
  for (const check of [
    ...['stack', 'table', 'table guard', 'table pitr', 'table ttl', 'cluster', 'leases'],
    ...['key', 'key policy', 'function', 'dns', 'tcp', 'tls', 'discovery', 'version'],
    ...['schedule', 'bucket', 'bucket lock'],
    ...['addresses', 'websocket', 'proxy', 'proxies', 'targets', 'certificate', 'alarms', 'logs'],
  ])
    expect(checks).toContain(check)
  expect(seen.checks.filter((c) => c.check === 'key').map((c) => c.target)).toEqual([
    'HostCaKey',
    'UserCaKey',
    'PolicyKey',
    'SealKey',
  ])
  // It reads, and nothing else.
  for (const call of account.calls)
    expect(call).toMatch(/:(Describe|List|Get)\w+$|^dynamodb:Query$/)
  expect(seen.checks.filter((c) => c.check === 'schedule')).toHaveLength(2)
  expect(seen.of('bucket lock').detail).toBe('governance, 365 days')
})

test('each thing that is wrong is told with its remedy, all in one go', async () => {
  const { table, keys, functions, alarms, logs, service } = account
  const [host, user] = [...keys.values()]
  const [firstFunction] = [...functions.values()]
  const [alarm] = [...alarms.values()]
  const [log = ''] = logs.keys()
  if (!host || !user || !firstFunction || !alarm) throw new Error('the templates lack something')
  Object.assign(table, { guard: false, pitr: false, ttl: false, leases: [Date.now() / 1000 - 90] })
  host.state = 'PendingDeletion'
  user.grants = [{ GranteePrincipal: 'arn:aws:iam::999999999999:role/mallory' }]
  user.policy = {
    Statement: [{ Effect: 'Allow', Action: 'kms:Sign', Principal: { AWS: '*' }, Resource: '*' }],
  }
  firstFunction['Environment'] = { Variables: { POSTERN_TABLE: 'another-table' } }
  Object.assign(service, { running: 1, event: 'was unable to place a task.' })
  account.targets = [{ state: 'unhealthy', description: 'Health checks failed' }]
  account.certificate = 'PENDING_VALIDATION'
  alarm.state = 'ALARM'
  logs.set(log, undefined)
  const [records, accessLog] = [...account.buckets.values()].sort(
    (a, b) => Number(b.lock ?? 0) - Number(a.lock ?? 0),
  )
  if (!records || !accessLog) throw new Error('the templates have two buckets')
  Object.assign(records, { lock: undefined, shut: undefined })
  accessLog.encrypted = false
  const [schedule = ''] = account.schedules.keys()
  account.schedules.set(schedule, 'DISABLED')
  const seen = await doctor()
  const told = (check: string, target = '') => {
    const { status, detail, fix } = seen.of(check, target)
    return `${status}: ${detail} → ${fix ?? ''}`
  }
  expect(told('table guard')).toMatch(/^fail: .*off.*--deletion-protection-enabled$/)
  expect(told('table pitr')).toMatch(/^fail: .*update-continuous-backups/)
  expect(told('table ttl')).toMatch(/^fail: .*AttributeName=ttl$/)
  expect(told('leases')).toMatch(/^fail: the newest ended \d+ s ago.*no-proxy/)
  expect(told('key', 'HostCaKey')).toMatch(/^fail: .*deletion.*cancel-key-deletion/)
  expect(told('key policy', 'UserCaKey')).toMatch(/^fail: its policy lets \* in; a grant.*mallory/)
  expect(seen.checks.some((c) => c.check === 'function' && /another-table/.test(c.detail))).toBe(
    true,
  )
  expect(told('proxies')).toMatch(/^fail: 1 of 2 run.*unable to place a task/)
  expect(told('targets')).toMatch(/^fail: none of 1 is healthy \(Health checks failed\)/)
  expect(told('certificate')).toMatch(/^fail: .*PENDING_VALIDATION.*NS records/)
  expect(told('alarms')).toMatch(/^fail: .*docs\/runbook\.md#/)
  expect(told('logs')).toMatch(/^fail: .*for ever.*put-retention-policy/)
  expect(told('bucket lock')).toMatch(/^fail: .*not locked.*PutObjectLockConfiguration/)
  const buckets = seen.checks.filter((c) => c.check === 'bucket').map((c) => c.detail)
  expect(buckets.sort()).toEqual([
    expect.stringMatching(/^it may be opened to the world: BlockPublicAcls/),
    'what is written to it is not encrypted',
  ])
  expect(
    seen.checks
      .filter((c) => c.check === 'schedule')
      .map((c) => c.status)
      .sort(),
  ).toEqual(['fail', 'ok'])
  expect(seen.code).toBeGreaterThan(0)
  Object.assign(account, { certificate: 'ISSUED', certificateDays: 12 })
  expect((await doctor()).of('certificate').detail).toBe('it ends in 11 days and was not renewed')
})

test('in profile small the name has to lead to the task that runs', async () => {
  const made = deployment({
    profile: 'small',
    domain: 'access.example.com',
    zone: 'Z0123456789ABCDEFGHIJ',
  })
  const { outputs } = account.stacks[0] ?? { outputs: {} }
  const small = await fakeAccount({
    stacks: [
      stackOf('Postern', made.template('plane'), outputs),
      stackOf('PosternProxies', made.template('proxies'), { ProxyAddress: gate.cluster.address }),
    ],
    table: TABLE,
    cluster: gate.cluster.plane.cluster,
    callers: new Map([['AKIADEPLOYER', { secretAccessKey: 'of/the+deployer' }]]),
  })
  try {
    expect((await doctor({}, small)).of('name').detail).toBe('names the task that runs, 127.0.0.1')
    small.task = '198.51.100.7'
    expect((await doctor({}, small)).of('name')).toMatchObject({
      status: 'fail',
      detail: 'names 127.0.0.1, and the task that runs has 198.51.100.7',
    })
  } finally {
    await small.close()
  }
})

test('what this identity may not look at is a finding that names the action, not an end', async () => {
  account.denied.add('kms:DescribeKey').add('monitoring:DescribeAlarms')
  const seen = await doctor()
  expect(seen.of('key').fix).toContain('kms:DescribeKey')
  expect(seen.of('key policy').status).toBe('skip')
  expect(seen.of('alarms').detail).toBe('this identity may not monitoring:DescribeAlarms')
  expect(seen.of('logs')).toBeDefined()
  account.denied.clear()
})

test('before bootstrap it says which command makes the cluster', async () => {
  account.table.cluster = undefined
  const seen = await doctor()
  expect(seen.of('cluster')).toMatchObject({
    status: 'fail',
    fix: 'npx postern bootstrap --stack Postern --region eu-west-1',
  })
})

test('no stack, no credentials, no region: one sentence each', async () => {
  const other = await postern(['doctor', '--aws', '--stack', 'Other', '--region', 'eu-west-1'], {
    cwd: home.dir,
    env: {
      ...home.env,
      AWS_ENDPOINT_URL: account.url,
      AWS_ACCESS_KEY_ID: 'AKIADEPLOYER',
      AWS_SECRET_ACCESS_KEY: 'of/the+deployer',
    },
  })
  expect(other.code).toBe(4)
  expect(other.stdout).toContain('there is no stack Other in eu-west-1')
  expect(other.stdout).toContain('check --stack and --region')
  const wrong = await doctor({ AWS_SECRET_ACCESS_KEY: 'not/it' })
  expect(wrong.of('stack').status).toBe('fail')
  expect(wrong.code).toBe(5)
})
