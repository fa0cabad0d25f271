/** Real agents that join a real gate without a secret: by AWS credentials, by an instance's document, by a key of their own. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { iso, systemClock } from '../../../core/clock.ts'
import { tokenCreated } from '../../../core/api/documents.ts'
import { parseAgentConfig } from '../../../agent/config.ts'
import { fakeImds, type FakeImds } from '../../fakes/imds.ts'
import { regionSigner } from '../../fakes/instance-identity.ts'
import { fakeSts, type FakeSts } from '../../fakes/sts.ts'
import { openGate, type Gate } from './gate.ts'

const ACCOUNT = '123456789012'
const INSTANCE = 'i-0123456789abcdef0'
const ireland = regionSigner('eu-west-1')
let gate: Gate
let sts: FakeSts
let imds: FakeImds
let n = 0
beforeAll(async () => {
  sts = await fakeSts(systemClock)
  imds = await fakeImds()
  gate = await openGate({ aws: { sts: sts.at, iidKeys: [ireland.key] } })
})
afterAll(async () => {
  await gate.close()
  await sts.close()
  await imds.close()
})

const fresh = (): { dataDir: string; nodename: string } => {
  n += 1
  return { dataDir: join(gate.dir, `method-${n}`), nodename: `method-${n}` }
}
async function mint(name: string, spec: Record<string, unknown>) {
  const metadata = { name }
  const body = { kind: 'token', version: 'v2', metadata, spec: { roles: ['App', 'Node'], ...spec } }
  return tokenCreated.parse(await gate.operator.request('POST', '/v1/tokens', body))
}
const joinedBy = (method: string, node: string) =>
  gate.event(
    (e) => e.type === 'agent.join' && e.fields['method'] === method && e.fields['node'] === node,
  )

test('by iam with credentials from the environment', async () => {
  const arn = `arn:aws:iam::${ACCOUNT}:user/ci`
  const secretAccessKey = 'the-secret-of-ci'
  sts.principals.set('AKIAEXAMPLEUSEROFCI0', { secretAccessKey, account: ACCOUNT, arn })
  await mint('ci', { join_method: 'iam', allow: [{ aws_account: ACCOUNT, aws_arn: arn }] })
  const spec = fresh()
  const { agent } = await gate.start({
    ...spec,
    joinParams: '{ method: iam, token_name: ci }',
    env: {
      AWS_ACCESS_KEY_ID: 'AKIAEXAMPLEUSEROFCI0',
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_REGION: 'eu-west-1',
    },
  })
  await agent.settled()
  expect(agent.services.get('app')?.state).toBe('online')
  expect(await joinedBy('iam', spec.nodename)).toMatchObject({
    outcome: 'ok',
    fields: { subject: arn },
  })
  expect(sts.calls.at(-1)).toContain('sts.eu-west-1.amazonaws.com')
  await agent.stop()
})

test('by iam with the role of its instance, where the metadata service says it is', async () => {
  const arn = `arn:aws:sts::${ACCOUNT}:assumed-role/web/${INSTANCE}`
  const principal = {
    secretAccessKey: 'temporary',
    sessionToken: 'of+the/role==',
    account: ACCOUNT,
    arn,
  }
  sts.principals.set('ASIAEXAMPLEROLEOFWEB', principal)
  imds.texts.set('meta-data/iam/security-credentials/', 'web\n')
  imds.texts.set(
    'meta-data/iam/security-credentials/web',
    JSON.stringify({
      Code: 'Success',
      AccessKeyId: 'ASIAEXAMPLEROLEOFWEB',
      SecretAccessKey: 'temporary',
      Token: 'of+the/role==',
    }),
  )
  imds.texts.set('meta-data/placement/region', 'us-west-2')
  await mint('web', { join_method: 'iam', allow: [{ aws_account: ACCOUNT }] })
  const spec = fresh()
  const { agent, log, dataDir } = await gate.start({
    ...spec,
    joinParams: '{ method: iam, token_name: web }',
    env: { AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.endpoint },
  })
  await agent.settled()
  expect(agent.services.get('app')?.state).toBe('online')
  expect(sts.calls.at(-1)).toContain('sts.us-west-2.amazonaws.com')
  // The credentials stay in memory for as long as it takes to sign.
  const kept =
    readFileSync(join(dataDir, 'app/identity.json'), 'utf8') + JSON.stringify(log.entries)
  expect(kept).not.toMatch(/temporary|of\+the/)
  await agent.stop()
})

test('by ec2 with the document of its instance', async () => {
  const document = {
    accountId: ACCOUNT,
    region: 'eu-west-1',
    instanceId: INSTANCE,
    pendingTime: iso(systemClock.now()).replace(/\.\d{3}/, ''),
  }
  const text = ireland.sign(document).replaceAll(/(.{64})/g, '$1\n')
  imds.texts.set('dynamic/instance-identity/rsa2048', text)
  await mint('instances', { join_method: 'ec2', allow: [{ aws_account: ACCOUNT }] })
  const spec = fresh()
  const { agent } = await gate.start({
    ...spec,
    joinParams: '{ method: ec2, token_name: instances }',
    env: { AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.endpoint },
  })
  await agent.settled()
  expect(agent.services.get('app')?.state).toBe('online')
  expect((await joinedBy('ec2', spec.nodename)).outcome).toBe('ok')
  await agent.stop()
})

test('by a keypair of its own, both services at once; a restart needs neither secret nor join', async () => {
  const { registration_secret: secret = '' } = await mint('own-key', {
    join_method: 'bound_keypair',
  })
  const file = join(gate.dir, 'registration-secret')
  writeFileSync(file, `${secret}\n`, { mode: 0o600 })
  const spec = {
    ...fresh(),
    joinParams: `{ method: bound_keypair, token_name: own-key, bound_keypair: { registration_secret_path: ${file} } }`,
    services: 'app_service: { enabled: true, apps: [] }\nssh_service: { enabled: true }',
  }
  const first = await gate.start(spec)
  await first.agent.settled()
  expect([...first.agent.services.values()].map(({ state }) => state)).toEqual(['online', 'online'])
  const at = (name: string): string => join(spec.dataDir, 'bound-keypair', name)
  for (const name of ['key.pem', 'app.state', 'ssh.state'])
    expect(statSync(at(name)).mode & 0o777, name).toBe(0o600)
  expect(existsSync(at('key.pem'))).toBe(true)
  expect(JSON.stringify(first.log.entries)).not.toContain(secret)
  const { agentId } = first.agent
  await first.agent.stop()
  writeFileSync(file, 'not the secret any more', { mode: 0o600 })
  const second = await gate.start(spec)
  await second.agent.settled()
  expect(second.agent.agentId).toBe(agentId)
  expect(second.log.entries.map((e) => e.event)).not.toContain('agent.joined')
  await second.agent.stop()
})

test('what the machine cannot show is said, and tried again', async () => {
  const bare = await fakeImds()
  const { agent, log } = await gate.start({
    ...fresh(),
    joinParams: '{ method: iam, token_name: web }',
    env: { AWS_EC2_METADATA_SERVICE_ENDPOINT: bare.endpoint },
  })
  await log.seen('join.retry')
  const retry = log.entries.find((e) => e.event === 'join.retry')
  expect(retry?.fields?.['message']).toBe('no AWS credentials: this instance has no role')
  await agent.stop()
  await bare.close()
})

test('the configuration refuses what does not fit its method', () => {
  const config = (params: string) => () =>
    parseAgentConfig(
      `version: v3\nteleport: { proxy_server: "gate:443", join_params: ${params} }\nssh_service: { enabled: yes }`,
      { hostname: 'h' },
    )
  expect(config('{ method: iam, token_name: fleet }')()).toMatchObject({
    join: { method: 'iam', tokenName: 'fleet' },
  })
  expect(config('{ method: iam, token_name: /a/path }')).toThrow(/the name of the token/)
  expect(config('{ method: magic, token_name: x }')).toThrow(/join methods/)
  expect(config('{ method: iam, token_name: x, bound_keypair: {} }')).toThrow(
    /belongs to another join method/,
  )
  expect(
    config(
      '{ method: bound_keypair, token_name: x, bound_keypair: { registration_secret_value: a, registration_secret_path: /b } }',
    ),
  ).toThrow(/never both/)
})
