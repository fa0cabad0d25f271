/**
 * The verbs of the control plane in this process, wired as in the cloud (`functions/lambda-wiring.ts`), over DynamoDB and KMS endpoints
 * that count. What a call costs is the difference before and after it.
 */
import { randomUUID } from 'node:crypto'
import { createCaCertificate } from '../../../core/certs/x509.ts'
import { readCertificate } from '../../../core/certs/x509-read.ts'
import { plus, systemClock } from '../../../core/clock.ts'
import { bootstrap, createDefaultRoles } from '../../../functions/bootstrap.ts'
import { apiDeps, joinDeps, loginDeps, policyDeps } from '../../../functions/lambda-wiring.ts'
import { joinRoutes } from '../../../functions/routes/join.ts'
import { loginRoutes } from '../../../functions/routes/login.ts'
import { kmsSigner } from '../../../functions/signers/kms.ts'
import { bundleOf } from '../../../functions/signers/public-cas.ts'
import { embeddedClient, openEmbeddedStore } from '../../../functions/store/embedded/open.ts'
import { ensureTable, openStores } from '../../../functions/store/open.ts'
import type { Stores } from '../../../functions/store/stores.ts'
import { createVerb } from '../../../functions/verb.ts'
import { mountApi } from '../../../functions/verbs/api.ts'
import { mountPolicy } from '../../../functions/verbs/policy.ts'
import { systemRandom } from '../../../core/random.ts'
import { KMSClient } from '@aws-sdk/client-kms'
import { verbOf } from '../key-access.ts'
import { awsEndpoint } from './endpoint.ts'
import { fakeKms } from './kms.ts'
import { unitsOf } from './meter.ts'
import { ACCOUNT, REGION, type DeployedKey } from './template.ts'

export const ORIGIN = 'https://api.cost.example'
const TABLE = 'postern'
const CLUSTER = 'cost.example'

/** What some work needed of AWS. */
export interface Cost {
  /** Requests to the HTTP API, each one invocation of a function. */
  readonly calls: number
  readonly readUnits: number
  readonly writeUnits: number
  readonly writeRequests: number
  /** ECDSA signatures by KMS. */
  readonly signs: number
}
export interface CountedPlane {
  readonly operatorKey: string
  readonly cluster: string
  /** Stores whose requests are counted too, as the proxy's are. */
  readonly stores: Stores
  call(
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<{ readonly status: number; readonly body: Readonly<Record<string, unknown>> }>
  /** What `work` cost. */
  cost(work: () => Promise<unknown>): Promise<Cost>
  /**
   * Read units of the rows of the CAs, which a function reads again when what it knows is LIMITS.caRefresh old. That is a matter of the
   * clock and not of the call, so it is in no call's cost.
   */
  casUnits(): number
  close(): Promise<void>
}

const asksForCas = (operation: string, input: Readonly<Record<string, unknown>>): boolean =>
  operation === 'Query' &&
  JSON.stringify(input['ExpressionAttributeValues'] ?? '').includes('{"S":"CA"}')

export async function countedPlane(): Promise<CountedPlane> {
  const engine = await openEmbeddedStore()
  const raw = embeddedClient(engine)
  await ensureTable(raw, TABLE)
  const key = (name: string, spec: string): DeployedKey => ({
    id: name,
    arn: `arn:aws:kms:${REGION}:${ACCOUNT}:key/${randomUUID()}`,
    spec,
    delegatesToIam: true,
  })
  const keys = {
    host: key('host', 'ECC_NIST_P256'),
    user: key('user', 'ECC_NIST_P256'),
    policy: key('policy', 'ECC_NIST_P256'),
    seal: key('seal', 'HMAC_256'),
  }
  const total = { calls: 0, readUnits: 0, writeUnits: 0, writeRequests: 0, signs: 0 }
  let casUnits = 0
  const kms = fakeKms(Object.values(keys))
  const look = async (k: Readonly<Record<string, unknown>>) =>
    (await engine.handle('GetItem', { TableName: TABLE, Key: k, ConsistentRead: true }))['Item'] as
      Readonly<Record<string, unknown>> | undefined
  const aws = await awsEndpoint({
    async dynamodb(operation, input) {
      const answer = await engine.handle(operation, input)
      const units = await unitsOf(operation, input, answer, look)
      if (asksForCas(operation, input)) {
        casUnits = units.reads
        return answer
      }
      total.readUnits += units.reads
      total.writeUnits += units.writes
      total.writeRequests += units.writeRequests
      return answer
    },
    kms: {
      request: (operation, input) => kms.request(operation, input),
      run(operation, input) {
        if (operation === 'Sign') total.signs += 1
        return kms.run(operation, input)
      },
    },
    tableArn: (name) => `arn:aws:dynamodb:${REGION}:${ACCOUNT}:table/${name}`,
  })
  const secret = { secretAccessKey: 'counted', sessionToken: undefined }
  aws.sessions.set('AKIACOUNTED000000000', {
    ...secret,
    who: 'plane',
    policies: [{ Effect: 'Allow', Action: ['dynamodb:*', 'kms:*'], Resource: '*' }],
  })
  Object.assign(process.env, {
    AWS_REGION: REGION,
    AWS_ACCESS_KEY_ID: 'AKIACOUNTED000000000',
    AWS_SECRET_ACCESS_KEY: secret.secretAccessKey,
    AWS_ENDPOINT_URL_DYNAMODB: aws.url,
    AWS_ENDPOINT_URL_KMS: aws.url,
    POSTERN_TABLE: TABLE,
    POSTERN_ORIGINS: ORIGIN,
    POSTERN_PROXIES: 'access.cost.example:443',
    POSTERN_SEAL_KEY: keys.seal.arn,
    POSTERN_HOST_CA_KEY: keys.host.arn,
    POSTERN_USER_CA_KEY: keys.user.arn,
    POSTERN_POLICY_KEY: keys.policy.arn,
  })
  const { DynamoDBClient } = await import('@aws-sdk/client-dynamodb')
  const client = new DynamoDBClient({})
  const stores = openStores({
    client,
    tableName: TABLE,
    cursorKey: systemRandom.bytes(32),
  })
  const kmsClient = new KMSClient({})
  const now = systemClock.now()
  const ca = async (arn: string) => {
    const signer = await kmsSigner(kmsClient, arn)
    const der = await createCaCertificate({
      name: 'CA',
      signer,
      notBefore: plus(now, -60_000),
      notAfter: plus(now, 86_400_000 * 365),
    })
    return readCertificate(der)
  }
  await createDefaultRoles(stores.roles)
  await stores.cluster.init({
    id: 'x',
    name: CLUSTER,
    created: now,
    cas: bundleOf(
      await ca(keys.host.arn),
      await ca(keys.user.arn),
      await kmsSigner(kmsClient, keys.policy.arn),
    ),
  })
  const deps = { clock: systemClock, random: systemRandom, stores }
  const { operatorKey } = await bootstrap(deps, {
    user: 'ann',
    roles: ['access', 'editor'],
    traits: { logins: ['ann'] },
  })
  const verbs = {
    api: createVerb(await apiDeps(), mountApi),
    join: createVerb(await joinDeps(), joinRoutes),
    login: createVerb(await loginDeps(), loginRoutes),
    policy: createVerb(await policyDeps(), mountPolicy),
  }

  return {
    operatorKey,
    cluster: CLUSTER,
    stores,
    async call(method, path, body, headers = {}) {
      total.calls += 1
      const text = body === undefined ? undefined : JSON.stringify(body)
      const verb = verbs[verbOf(method, path) as keyof typeof verbs]
      const answer = await verb.request(
        ORIGIN + path,
        {
          method,
          headers: {
            ...(text === undefined ? {} : { 'content-type': 'application/json' }),
            ...headers,
          },
          ...(text === undefined ? {} : { body: text }),
        },
        { ip: '192.0.2.1' },
      )
      const found = await answer.text()
      return {
        status: answer.status,
        body: (found === '' ? {} : JSON.parse(found)) as Record<string, unknown>,
      }
    },
    async cost(work) {
      const before = { ...total }
      await work()
      return {
        calls: total.calls - before.calls,
        readUnits: total.readUnits - before.readUnits,
        writeUnits: total.writeUnits - before.writeUnits,
        writeRequests: total.writeRequests - before.writeRequests,
        signs: total.signs - before.signs,
      }
    },
    casUnits: () => casUnits,
    async close() {
      client.destroy()
      kmsClient.destroy()
      await aws.close()
      raw.destroy()
      await engine.close()
    },
  }
}
