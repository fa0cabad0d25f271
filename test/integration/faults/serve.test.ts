// `postern serve`: store, control plane and proxies as processes of their own, and what each of them may do.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DynamoDBClient, GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { apiClient } from '../../../net/http-client.ts'
import { lineOf } from '../cli/postern.ts'
import { missing } from '../../support/peers.ts'
import { served, type Served, type ServedProxy } from '../../support/served.ts'

describe.skipIf(missing('ssh'))('the parts of a cluster, each alone', () => {
  let cluster: Served
  let proxy: ServedProxy

  beforeAll(async () => {
    cluster = await served()
    proxy = await cluster.proxy('proxy-1')
    await cluster.knows([proxy.address])
  })
  afterAll(() => cluster.close())

  const client = async (file: string, guess?: string): Promise<DynamoDBClient> => {
    const text = await readFile(join(cluster.dataDir, file), 'utf8')
    const [id = '', secret = ''] = [...text.matchAll(/= (\S+)/g)].map((m) => m[1])
    const yaml = await readFile(join(cluster.home.dir, 'api.yaml'), 'utf8')
    return new DynamoDBClient({
      endpoint: /endpoint: (\S+)/.exec(yaml)?.[1] ?? '',
      region: 'local',
      credentials: { accessKeyId: id, secretAccessKey: guess ?? secret },
      maxAttempts: 1,
    })
  }
  const get = (pk: string) =>
    new GetItemCommand({ TableName: 'postern', Key: { pk: { S: pk }, sk: { S: pk } } })

  test('an agent that was given a proxy as its server joins, and ssh reaches it', async () => {
    await cluster.agent('web-1', {
      server: proxy.address,
      type: 'node',
      services: { ssh_service: { enabled: true } },
    })
    const ssh = cluster.launch('ssh', ['-F', cluster.sshConfig, 'web-1', 'echo through'])
    let said = ''
    ssh.stdout?.on('data', (text: Buffer) => (said += text.toString()))
    expect(await new Promise((resolve) => ssh.on('close', resolve))).toBe(0)
    expect(said).toBe('through\n')
  })

  test('doctor goes the way to a proxy of its own, whose certificate is its identity', async () => {
    const done = await cluster.run('doctor', '--json')
    const { checks } = JSON.parse(done.stdout) as { checks: { check: string; status: string }[] }
    expect(checks.filter((c) => c.status !== 'ok' && c.check !== 'ssh_config')).toEqual([])
    expect(checks.filter((c) => c.check === 'tunnel')).toHaveLength(1)
    expect(done.code).toBe(0)
  })

  test('the proxy answers what anyone may know, under a certificate that is its identity', async () => {
    const ca = [await readFile(join(cluster.dataDir, 'profile', 'ca.pem'), 'utf8')]
    const ask = (anyProxy: boolean, path: string) =>
      apiClient({
        baseUrl: `https://${proxy.address}`,
        trust: { system: false, ca, anyProxy },
      }).request('GET', path)
    expect(await ask(true, '/.well-known/postern')).toMatchObject({
      api: cluster.origin,
      proxies: [proxy.address],
      ca_pins: [cluster.caPin],
    })
    expect(await ask(true, '/v1/ca')).toMatchObject({ host: { x509: ca } })
    // Where a secret would be sent, a proxy is nobody: its certificate carries no address.
    await expect(ask(false, '/v1/ca')).rejects.toMatchObject({ code: 'ERR_UNREACHABLE' })
  })

  test('the store takes nothing that is not signed with one of its keys', async () => {
    const wrong = await client('store-credentials', 'guessed')
    await expect(wrong.send(get('CLUSTER'))).rejects.toMatchObject({
      name: 'UnrecognizedClientException',
    })
  })

  test("a proxy's key opens a proxy's rows and no others", async () => {
    const db = await client('store-credentials-proxy')
    const lease = { pk: { S: 'LEASE' }, sk: { S: proxy.id } }
    expect(
      (await db.send(new GetItemCommand({ TableName: 'postern', Key: lease }))).Item,
    ).toBeDefined()
    for (const pk of ['CLUSTER', 'USER#1', 'TOKEN#x'])
      await expect(db.send(get(pk))).rejects.toMatchObject({ name: 'AccessDeniedException' })
    const forged = new PutItemCommand({
      TableName: 'postern',
      Item: { pk: { S: 'POLICY#version' }, sk: { S: 'POLICY' } },
    })
    await expect(db.send(forged)).rejects.toMatchObject({ name: 'AccessDeniedException' })
  })

  test('a locked proxy is told no by the control plane', async () => {
    const second = await cluster.proxy('proxy-2')
    const refused = new Promise<void>((resolve) => {
      second.log.on('line', (line) => {
        if (/proxy\.policy_not_fetched/.test(line)) resolve()
      })
    })
    const lock = await cluster.run('lock', '--agent', second.id.replace('px_', 'ag_'))
    expect(lock).toMatchObject({ code: 0 })
    await refused
    second.signal('SIGTERM')
    expect(await second.exited).toBe(0)
  })

  test('the control plane tells of its requests at its private address, and is not ready without the store', async () => {
    const { apiDiag, api, store } = cluster
    const text = await (await fetch(`${apiDiag}/metrics`)).text()
    expect(text).toMatch(
      /^postern_api_requests_total\{method="POST",route="\/v1\/join",status="200"\} [1-9]/m,
    )
    expect((await fetch(`${apiDiag}/readyz`)).status).toBe(200)
    const unread = lineOf(api.log, /api\.proxies_unread/)
    store.signal('SIGKILL')
    await unread
    expect((await fetch(`${apiDiag}/readyz`)).status).toBe(503)
    expect((await fetch(`${apiDiag}/healthz`)).status).toBe(200)
  })
})
