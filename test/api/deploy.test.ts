// What a deployment itself runs: join rules that stacks declare, and the nightly copy of the audit log.
import { gunzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { archive, archiveDay, daysDue } from '../../functions/archive/archive.ts'
import { createS3 } from '../../functions/archive/s3.ts'
import { customResource, type Change } from '../../functions/deploy/custom-resource.ts'
import { joinRule } from '../../functions/deploy/join-rule.ts'
import { silentLog } from '../../core/log.ts'
import { systemClock } from '../../core/clock.ts'
import { fakeAws } from '../fakes/aws.ts'
import { openWorld, type World } from './support/world.ts'

const world: World = await openWorld()
const aws = await fakeAws()
afterAll(async () => {
  await aws.close()
  await world.close()
})

describe('a join rule', () => {
  const deps = { clock: world.clock, stores: world.plane.stores, tokenName: 'pool-web' }
  const token = (change: Record<string, unknown> = {}, spec: Record<string, unknown> = {}) => ({
    Token: JSON.stringify({
      kind: 'token',
      version: 'v2',
      metadata: { name: 'pool-web', expires: '2125-01-01T00:00:00Z' },
      spec: {
        roles: ['Node'],
        join_method: 'iam',
        allow: [
          {
            aws_account: '123456789012',
            aws_arn: 'arn:aws:sts::123456789012:assumed-role/web/i-*',
          },
        ],
        ...spec,
      },
      ...change,
    }),
  })
  const apply = (change: Change) => joinRule(deps)(change)

  test('is there after the deployment, is replaced by the next, and goes with its stack', async () => {
    const made = await apply({ type: 'create', properties: token() })
    expect(made.id).toBe('pool-web')
    expect((await world.op('GET', '/v1/tokens/pool-web')).status).toBe(200)
    await apply({ type: 'update', id: made.id, properties: token({}, { roles: ['Node', 'App'] }) })
    expect((await world.op('GET', '/v1/tokens/pool-web')).text).toContain('"App"')
    await apply({ type: 'delete', id: made.id })
    expect((await world.op('GET', '/v1/tokens/pool-web')).status).toBe(404)
    // A stack that is deleted twice, as after a failure.
    await apply({ type: 'delete', id: made.id })
    const { items } = await world.plane.stores.events.list({ limit: 10, actor: 'cloudformation' })
    expect(items.map((event) => event.type).sort()).toEqual([
      'token.create',
      'token.create',
      'token.revoke',
      'token.revoke',
    ])
  })
  // What it stops: a stack that hands out secrets, or writes the token of another.
  test.each([
    ['a method with a secret', token({}, { join_method: 'token', allow: undefined }), /iam/],
    ['the name of another', token({ metadata: { name: 'pool-db' } }), /declares pool-web/],
    ['an unknown field', token({}, { bogus: 1 }), /bogus/],
  ])('%s is refused', async (_, properties, says) => {
    await expect(apply({ type: 'create', properties })).rejects.toThrow(says)
  })
  test('before the cluster is set up it says what to run', async () => {
    const cluster = { ...world.plane.stores.cluster, get: async () => undefined }
    const early = joinRule({ ...deps, stores: { ...world.plane.stores, cluster } })
    await expect(early({ type: 'create', properties: token() })).rejects.toMatchObject({
      code: 'ERR_CLUSTER_NEW',
    })
  })
})

describe('the protocol of custom resources', () => {
  const event = {
    RequestType: 'Create',
    ResponseURL: 'https://cloudformation.example/answer?signed',
    StackId: 'stack',
    RequestId: 'request',
    LogicalResourceId: 'Rule',
    ResourceProperties: {},
  }
  /** What CloudFormation was told. */
  async function told(given: object, apply: () => Promise<{ id: string }>) {
    const bodies: Record<string, unknown>[] = []
    const handler = customResource(apply, {
      log: silentLog,
      fetch: async (_url, init) => {
        bodies.push((await new Response(init?.body).json()) as Record<string, unknown>)
        return new Response()
      },
    })
    await handler(given)
    return bodies[0]
  }
  test('success', async () => {
    expect(await told(event, async () => ({ id: 'made' }))).toMatchObject({
      Status: 'SUCCESS',
      PhysicalResourceId: 'made',
      RequestId: 'request',
    })
  })
  test('a failure is told too, or the deployment would wait for an hour; without what only we may see', async () => {
    const answer = await told(event, () => Promise.reject(new Error('table arn:secret')))
    expect(answer).toMatchObject({ Status: 'FAILED', Reason: 'see the log of the function' })
  })
  test('deleting what was never made is asked of nobody', async () => {
    const gone = { ...event, RequestType: 'Delete', PhysicalResourceId: 'postern-none' }
    expect(await told(gone, () => Promise.reject(new Error('asked')))).toMatchObject({
      Status: 'SUCCESS',
    })
  })
})

describe('the archive', () => {
  const s3 = (secret = aws.key.secret) =>
    createS3({
      bucket: 'records',
      region: 'eu-west-1',
      endpoint: aws.origin,
      clock: systemClock,
      credentials: () => ({
        accessKeyId: aws.key.id,
        secretAccessKey: secret,
        sessionToken: aws.key.token,
      }),
    })
  const deps = { clock: world.clock, log: silentLog, stores: world.plane.stores }
  const today = () => new Date(world.clock.now()).toISOString().slice(0, 10)

  test('holds every event of a day, and the same events are the same bytes', async () => {
    const count = await archiveDay({ ...deps, objects: s3() }, today())
    const key = `/records/events/${today().replaceAll('-', '/')}/00000.ndjson.gz`
    const bytes = aws.objects.get(key)
    const lines = gunzipSync(bytes ?? Buffer.alloc(0))
      .toString()
      .trimEnd()
      .split('\n')
    expect(lines).toHaveLength(count)
    expect(lines.map((line) => (JSON.parse(line) as { type: string }).type)).toContain(
      'token.create',
    )
    await archiveDay({ ...deps, objects: s3() }, today())
    expect(aws.objects.get(key)).toEqual(bytes)
  })
  test('a day that cannot be written fails the run, so that the alarm sees it', async () => {
    world.later(24 * 3600 * 1000)
    await expect(archive({ ...deps, objects: s3('wrong') })).rejects.toThrow(/were not copied/)
    await archive({ ...deps, objects: s3() })
  })
  test('yesterday, a week ago, and before the table forgets', () => {
    expect(daysDue(world.clock)).toHaveLength(3)
  })
})
