/**
 * A proxy beside a deployed control plane: it asks the API with its own identity, and reaches the table under the role that the proxy's
 * task has. Its certificate is one of the cluster's host CA, as without a domain of one's own.
 */
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { createHash, createPublicKey } from 'node:crypto'
import { createServer, type AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { caBundle } from '../../../core/domain/cluster.ts'
import { proxyUri } from '../../../core/certs/identity.ts'
import { generateKey, keySigner, type Signer } from '../../../core/certs/signer.ts'
import { issueCertificate } from '../../../core/certs/x509.ts'
import { readCertificate, toPem } from '../../../core/certs/x509-read.ts'
import { plus, systemClock } from '../../../core/clock.ts'
import { newId } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { openListener } from '../../../cli/up/listener.ts'
import { KEY_ACCESS } from '../../../functions/store/key-access.ts'
import { openStores } from '../../../functions/store/open.ts'
import { keyStatements } from '../../../infra/constructs/key-grants.ts'
import { apiClient } from '../../../net/http-client.ts'
import { apiPolicySource } from '../../../proxy/policy-source.ts'
import { createProxy } from '../../../proxy/proxy.ts'
import { recordingLog, type RecordingLog } from '../recording-log.ts'
import { HOUR } from '../pki.ts'
import type { Cloud } from './cloud.ts'
import type { Statement } from './iam.ts'

/** A TCP load balancer: its address is known before what stands behind it. */
export interface Balancer {
  /** `127.0.0.1:port`. */
  readonly address: string
  target: number | undefined
  close(): Promise<void>
}
export async function balancer(): Promise<Balancer> {
  const state: { target: number | undefined } = { target: undefined }
  const server = createServer((near) => {
    near.on('error', () => near.destroy())
    if (state.target === undefined) return void near.destroy()
    const far = connect(state.target, '127.0.0.1')
    far.on('error', () => near.destroy())
    far.on('close', () => near.destroy())
    near.on('close', () => far.destroy())
    near.pipe(far).pipe(near)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    get target() {
      return state.target
    },
    set target(port) {
      state.target = port
    },
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

export interface CloudProxy {
  readonly log: RecordingLog
  close(): Promise<void>
}

/** The host CA's key, through the same KMS that the join function signs with. */
function hostSigner(cloud: Cloud, pem: string): Signer {
  const { publicKey } = readCertificate(pem)
  const der = publicKey.export({ type: 'spki', format: 'der' }).toString('base64')
  const key = cloud.deployed.keys.find(
    ({ arn, spec }) =>
      spec === 'ECC_NIST_P256' &&
      cloud.kms.run('GetPublicKey', { KeyId: arn })['PublicKey'] === der,
  )
  return {
    publicKey,
    algorithm: 'ES256',
    async sign(bytes) {
      const answer = cloud.kms.run('Sign', {
        KeyId: key?.arn,
        Message: createHash('sha256').update(bytes).digest('base64'),
        MessageType: 'DIGEST',
        SigningAlgorithm: 'ECDSA_SHA_256',
      })
      return Buffer.from(String(answer['Signature']), 'base64')
    },
  }
}

export async function startCloudProxy(cloud: Cloud, front: Balancer): Promise<CloudProxy> {
  const clock = systemClock
  const random = systemRandom
  const log = recordingLog()
  const trust = { system: false, ca: [cloud.api.ca] }
  const anyone = apiClient({ baseUrl: cloud.api.url, trust })
  const cas = caBundle.parse(await anyone.request('GET', '/v1/ca'))
  anyone.close()
  const [hostPem = ''] = cas.host.x509
  const issuer = { certificate: readCertificate(hostPem), signer: hostSigner(cloud, hostPem) }
  const id = newId('proxy', clock.now(), random)
  const keys = generateKey()
  const now = clock.now()
  const der = await issueCertificate({
    subject: id,
    publicKey: keys.publicKey,
    issuer,
    notBefore: plus(now, -60_000),
    notAfter: plus(now, HOUR),
    uris: [proxyUri(cas.cluster, id)],
    ips: ['127.0.0.1'],
    usage: ['client', 'server'],
  })
  const identity = { certificate: readCertificate(der), signer: keySigner(keys.privateKey) }
  const env = cloud.session(
    'proxy',
    keyStatements(KEY_ACCESS.proxy, cloud.deployed.table.arn).map(
      (s) => s.toStatementJson() as unknown as Statement,
    ),
  )
  const client = new DynamoDBClient({
    region: env['AWS_REGION'] ?? '',
    endpoint: cloud.aws.url,
    credentials: {
      accessKeyId: env['AWS_ACCESS_KEY_ID'] ?? '',
      secretAccessKey: env['AWS_SECRET_ACCESS_KEY'] ?? '',
      sessionToken: env['AWS_SESSION_TOKEN'] ?? '',
    },
  })
  const { presence } = openStores({
    client,
    tableName: cloud.deployed.table.name,
    cursorKey: random.bytes(32),
  })
  const api = apiClient({
    baseUrl: cloud.api.url,
    trust,
    cluster: cas.cluster,
    identity: () => identity,
  })
  const proxy = createProxy({
    cluster: cas.cluster,
    identity: () => identity,
    hostCas: () => cas.host.x509.map((pem) => readCertificate(pem)),
    userCas: () => cas.user.x509.map((pem) => readCertificate(pem)),
    policyKeys: () => cas.policy.map((jwk) => createPublicKey({ key: { ...jwk }, format: 'jwk' })),
    presence,
    publicAddresses: () => [front.address],
    policy: apiPolicySource(api),
    clock,
    random,
    log,
  })
  const listener = await openListener(
    { host: '127.0.0.1', port: 0 },
    {
      key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      chain: toPem(der) + hostPem,
    },
    {
      fetch: async () => new Response(null, { status: 404 }),
      handleRequest: (request, response) => proxy.handleRequest(request, response),
      handleUpgrade: (request, socket, head) => proxy.handleUpgrade(request, socket, head),
    },
  )
  front.target = listener.port
  await proxy.start()
  return {
    log,
    async close() {
      front.target = undefined
      await proxy.close()
      await listener.close()
      api.close()
      client.destroy()
    },
  }
}
