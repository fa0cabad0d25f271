/**
 * Every join method admits a real agent: `postern agent start` as a process of its own, with nothing but its configuration file and
 * an environment as the method's platform gives it, against one cluster and the test issuer of each. `tpm` is in tpm.test.ts.
 */
import { once } from 'node:events'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { tokenCreated } from '../../../core/api/documents.ts'
import { iso, systemClock } from '../../../core/clock.ts'
import { JOIN_METHODS } from '../../../core/domain/join-method.ts'
import type { OidcMethodName } from '../../../core/domain/join-method.ts'
import { fakeAzure, VM, type FakeAzure } from '../../fakes/azure.ts'
import { fakeImds, type FakeImds } from '../../fakes/imds.ts'
import { regionSigner } from '../../fakes/instance-identity.ts'
import { fakeIssuers, type FakeIssuers } from '../../fakes/issuers.ts'
import { fakeKube, type FakeKube } from '../../fakes/kube-api.ts'
import { fakeSts, type FakeSts } from '../../fakes/sts.ts'
import { CASES } from '../../support/id-token-cases.ts'
import { openGate, type Gate } from '../agent/gate.ts'
import { BIN, CHECKOUT, finish, start } from '../cli/postern.ts'

const ACCOUNT = '123456789012'
const EKS = 'https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF'
const ireland = regionSigner('eu-west-1')
let gate: Gate
let sts: FakeSts
let imds: FakeImds
let azure: FakeAzure
let kube: FakeKube
let issuers: FakeIssuers
/** The services of CI systems and clouds on the machine itself. */
let local: { readonly url: string; readonly host: string; close(): Promise<void> }

/** By path: what a runner's token service, the pipeline's, and Google's metadata server answer. */
function answerLocally(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://localhost')
  const aud = url.searchParams.get('audience') ?? ''
  const bearer = request.headers.authorization === 'Bearer of-this-job'
  const token = (method: OidcMethodName, audience: string): string =>
    idToken(method, { aud: audience })
  switch (url.pathname) {
    case '/runner':
      return void response.end(bearer ? JSON.stringify({ value: token('github', aud) }) : '{}')
    case '/pipeline': {
      const oidcToken = token('azure_devops', CASES.azure_devops.audience)
      return void response.end(
        bearer && request.method === 'POST' ? JSON.stringify({ oidcToken }) : '{}',
      )
    }
    case '/computeMetadata/v1/instance/service-accounts/default/identity':
      response.setHeader('metadata-flavor', 'Google')
      if (request.headers['metadata-flavor'] !== 'Google') return void response.writeHead(403).end()
      return void response.end(token('gcp', aud))
    default:
      return void response.writeHead(404).end()
  }
}

const idToken = (method: OidcMethodName, change: object = {}): string => {
  const { issuer, claims, audience } = CASES[method]
  const cluster = audience === 'test.internal' ? gate.cluster.plane.cluster : audience
  return issuers.issue(issuer, { ...claims, aud: cluster, ...change })
}

beforeAll(async () => {
  sts = await fakeSts(systemClock)
  imds = await fakeImds()
  azure = await fakeAzure(systemClock)
  kube = await fakeKube(systemClock)
  issuers = await fakeIssuers([EKS, ...Object.values(CASES).map(({ issuer }) => issuer)])
  const server = createServer(answerLocally)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  local = {
    host,
    url: `http://${host}`,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  gate = await openGate({
    aws: { sts: sts.at, iidKeys: [ireland.key] },
    azure,
    kubernetes: kube.cluster,
    issuers: { at: (name) => azure.at(name) ?? issuers.at(name) },
  })
})
afterAll(async () => {
  await gate.close()
  for (const fake of [sts, imds, azure, kube, issuers, local]) await fake.close()
})

interface Way {
  /** Of the token file, besides roles and join_method. */
  readonly spec: () => Record<string, unknown>
  /** What the platform gives the process. */
  readonly env?: () => Record<string, string>
  /** Of join_params, besides method and token_name. */
  readonly params?: (minted: { readonly registration_secret?: string | undefined }) => string
}

const file = (name: string, text: string): string => {
  const path = join(gate.dir, name)
  writeFileSync(path, text, { mode: 0o600 })
  return path
}
const ownBlock =
  (method: OidcMethodName, change: object = {}): Way['spec'] =>
  () => ({
    [method]: { ...CASES[method].block(''), ...change },
  })
const variable = (method: OidcMethodName, name: string): Way => ({
  spec: ownBlock(method),
  env: () => ({ [name]: idToken(method) }),
})
const role = {
  secretAccessKey: 'the-secret',
  account: ACCOUNT,
  arn: `arn:aws:iam::${ACCOUNT}:user/ci`,
}
const account = 'web:postern'

/** By method; what follows a space tells ways of one method apart. */
const WAYS: Readonly<Record<string, Way>> = {
  iam: {
    spec: () => ({ allow: [{ aws_account: ACCOUNT, aws_arn: role.arn }] }),
    env: () => {
      sts.principals.set('AKIAEXAMPLEUSEROFCI0', role)
      const env = { AWS_ACCESS_KEY_ID: 'AKIAEXAMPLEUSEROFCI0', AWS_REGION: 'eu-west-1' }
      return { ...env, AWS_SECRET_ACCESS_KEY: role.secretAccessKey }
    },
  },
  ec2: {
    spec: () => ({ allow: [{ aws_account: ACCOUNT }] }),
    env: () => {
      const pendingTime = iso(systemClock.now()).replace(/\.\d{3}/, '')
      const instance = {
        accountId: ACCOUNT,
        region: 'eu-west-1',
        instanceId: 'i-0123456789abcdef0',
      }
      imds.texts.set(
        'dynamic/instance-identity/rsa2048',
        ireland.sign({ ...instance, pendingTime }),
      )
      return { AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.endpoint }
    },
  },
  azure: {
    spec: () => ({
      azure: { allow: [{ subscription: VM.subscription, resource_groups: ['web-rg'] }] },
    }),
    env: () => ({ AZURE_POD_IDENTITY_AUTHORITY_HOST: azure.metadata }),
  },
  gcp: { spec: ownBlock('gcp'), env: () => ({ GCE_METADATA_HOST: local.host }) },
  github: {
    spec: ownBlock('github'),
    env: () => ({
      ACTIONS_ID_TOKEN_REQUEST_URL: `${local.url}/runner?api-version=2`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'of-this-job',
    }),
  },
  gitlab: variable('gitlab', 'POSTERN_ID_TOKEN'),
  circleci: variable('circleci', 'CIRCLE_OIDC_TOKEN_V2'),
  terraform_cloud: variable('terraform_cloud', 'TFC_WORKLOAD_IDENTITY_TOKEN'),
  spacelift: variable('spacelift', 'SPACELIFT_OIDC_TOKEN'),
  bitbucket: variable('bitbucket', 'BITBUCKET_STEP_OIDC_TOKEN'),
  azure_devops: {
    spec: ownBlock('azure_devops'),
    env: () => ({
      SYSTEM_OIDCREQUESTURI: `${local.url}/pipeline`,
      SYSTEM_ACCESSTOKEN: 'of-this-job',
    }),
  },
  buildkite: {
    spec: ownBlock('buildkite'),
    env: () => {
      const bin = join(gate.dir, 'buildkite-bin')
      mkdirSync(bin)
      // The command of the platform's own agent, which knows for whom the token is to be.
      const script = `#!/bin/sh\n[ "$1 $2 $3" = 'oidc request-token --audience' ] && echo '${idToken('buildkite')}'\n`
      writeFileSync(join(bin, 'buildkite-agent'), script)
      chmodSync(join(bin, 'buildkite-agent'), 0o755)
      return { PATH: `${bin}:${process.env['PATH'] ?? ''}` }
    },
  },
  oidc: {
    spec: ownBlock('oidc'),
    env: () => ({ CI_JWT: idToken('oidc') }),
    params: () => ', oidc: { token_env_var_name: CI_JWT }',
  },
  'kubernetes in_cluster': {
    spec: () => ({ kubernetes: { allow: [{ service_account: account }] } }),
    env: () => ({
      KUBERNETES_TOKEN_PATH: file('sa-1', kube.token(account, gate.cluster.plane.cluster)),
    }),
  },
  'kubernetes oidc': {
    spec: () => ({
      kubernetes: { type: 'oidc', oidc: { issuer: EKS }, allow: [{ service_account: account }] },
    }),
    env: () => ({
      KUBERNETES_TOKEN_PATH: file('sa-2', idToken('kubernetes', { iss: EKS })),
    }),
  },
  bound_keypair: {
    spec: () => ({}),
    params: ({ registration_secret: secret = '' }) =>
      `, bound_keypair: { registration_secret_path: ${file('registration', secret)} }`,
  },
  token: { spec: () => ({}) },
}

test('no method is left out', () => {
  const tested = Object.keys(WAYS).map((way) => way.split(' ')[0])
  expect([...new Set([...tested, 'tpm'])].sort()).toEqual([...JOIN_METHODS].sort())
})

test.each(Object.entries(WAYS))('by %s', async (name, way) => {
  const method = name.split(' ')[0] ?? ''
  const node = name.replaceAll(/[ _]/g, '-')
  const made = await gate.operator.request('POST', '/v1/tokens', {
    kind: 'token',
    version: 'v2',
    metadata: { name: node },
    spec: { roles: ['App'], join_method: method, ...way.spec() },
  })
  const minted = tokenCreated.parse(made)
  const params = way.params?.(minted) ?? ''
  const config = file(
    `${node}.yaml`,
    gate.yaml({
      nodename: node,
      dataDir: join(gate.dir, node),
      joinParams: `{ method: ${method}, token_name: ${minted.secret ?? node}${params} }`,
    }),
  )
  const env = { PATH: process.env['PATH'] ?? '', HOME: gate.dir, ...way.env?.() }
  const child = start(process.execPath, [BIN, 'agent', 'start', '-c', config], {
    cwd: CHECKOUT,
    env,
  })
  const ended = finish(child)
  const joined = gate.event((e) => e.type === 'agent.join' && e.fields['node'] === node)
  const first = await Promise.race([joined, ended])
  child.kill('SIGTERM')
  const { stderr } = await ended
  expect(first, stderr).toMatchObject({ outcome: 'ok', fields: { method } })
})
