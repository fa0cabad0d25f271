/**
 * Real agent processes that join with id tokens: from a CI system's token service, from a projected file, from the environment. The
 * issuers sign for real, over real HTTPS, but they are ours: what the true ones send is not proven here.
 */
import { once } from 'node:events'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openIssuer, type OidcIssuer } from '../../fakes/oidc-issuer.ts'
import { CASES } from '../../support/id-token-cases.ts'
import { collectorFor } from '../../../agent/join/collectors.ts'
import { systemClock } from '../../../core/clock.ts'
import type { Thumbprint } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { openGate, type Gate } from '../agent/gate.ts'
import { BIN, CHECKOUT, finish, start } from '../cli/postern.ts'

let gate: Gate
let issuer: OidcIssuer
const { github } = CASES
beforeAll(async () => {
  issuer = await openIssuer({ alg: 'RS256', path: '/_services/token', runner: github.claims })
  gate = await openGate({ issuers: { allowPrivate: true, ca: issuer.ca } })
  writeFileSync(join(gate.dir, 'issuer-ca.pem'), issuer.ca)
})
afterAll(async () => {
  await gate.close()
  await issuer.close()
})

const host = (): string => new URL(issuer.url).host
const cluster = (): string => gate.cluster.plane.cluster

async function token(name: string, method: string, block: object): Promise<void> {
  await gate.operator.request('POST', '/v1/tokens', {
    kind: 'token',
    version: 'v2',
    metadata: { name },
    spec: { roles: ['App'], join_method: method, [method]: block },
  })
}

/** A process of its own with this environment and nothing else, until it joined or ended. */
async function runAgent(
  name: string,
  joinParams: string,
  env: Record<string, string>,
): Promise<{ readonly joined: boolean; readonly code: number | null; readonly stderr: string }> {
  const file = join(gate.dir, `${name}.yaml`)
  const dataDir = join(gate.dir, name)
  writeFileSync(file, gate.yaml({ nodename: name, dataDir, joinParams }))
  const child = start(process.execPath, [BIN, 'agent', 'start', '-c', file], {
    cwd: CHECKOUT,
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: gate.dir,
      NODE_EXTRA_CA_CERTS: join(gate.dir, 'issuer-ca.pem'),
      ...env,
    },
  })
  const ended = finish(child)
  const event = gate.event(
    (e) => e.type === 'agent.join' && e.outcome === 'ok' && e.fields['node'] === name,
  )
  const first = await Promise.race([event, ended])
  child.kill('SIGTERM')
  const { code, stderr } = await ended
  return { joined: 'outcome' in first, code, stderr }
}

describe('an agent process joins', () => {
  test('by github, with the token that the runner service gives for this cluster', async () => {
    await token('gh', 'github', { enterprise_server_host: host(), ...github.block('') })
    const ran = await runAgent('gh-1', '{ method: github, token_name: gh }', {
      ACTIONS_ID_TOKEN_REQUEST_URL: `${issuer.url}/token?api-version=2`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'runner',
    })
    expect(ran).toMatchObject({ joined: true, code: 0 })
    const event = await gate.event((e) => e.fields['node'] === 'gh-1' && e.type === 'agent.join')
    expect(event.fields).toMatchObject({
      method: 'github',
      token: 'gh',
      claims: expect.arrayContaining(['repository=acme/web']) as string[],
    })
  })

  test('by kubernetes with pasted keys, from the projected file of its pod', async () => {
    const sa = await openIssuer({ alg: 'ES256' })
    try {
      await token('k8s', 'kubernetes', CASES.kubernetes.block(sa.jwks()))
      const path = join(gate.dir, 'join-sa-token')
      writeFileSync(path, sa.issue({ ...CASES.kubernetes.claims, aud: [cluster()] }))
      const params = '{ method: kubernetes, token_name: k8s }'
      const ran = await runAgent('pod-1', params, { KUBERNETES_TOKEN_PATH: path })
      expect(ran).toMatchObject({ joined: true, code: 0 })
      expect(sa.asked).toEqual([])
    } finally {
      await sa.close()
    }
  })

  test('by oidc, from the variable that its configuration names', async () => {
    await token('any', 'oidc', { issuer: issuer.url, must_match_fields: { team: 'web' } })
    const params = '{ method: oidc, token_name: any, oidc: { token_env_var_name: CI_JWT } }'
    const CI_JWT = issuer.issue({ aud: cluster(), sub: 'job', team: 'web' })
    expect(await runAgent('any-1', params, { CI_JWT })).toMatchObject({ joined: true, code: 0 })
    // The very same id token on another machine is a copy.
    const copy = await runAgent('any-2', params, { CI_JWT })
    expect(copy).toMatchObject({ joined: false, code: 3 })
    expect(copy.stderr).not.toContain(CI_JWT)
  })

  test('by nothing when nothing is there, and says what the job lacks', async () => {
    const ran = await runAgent('gh-2', '{ method: github, token_name: gh }', {})
    expect(ran.joined).toBe(false)
    expect(ran.stderr).toMatch(/ACTIONS_ID_TOKEN_REQUEST_URL is not set.*id-token: write/)
  })
})

describe('what a machine can show is collected', () => {
  const machine = (env: Record<string, string>) => ({
    env,
    clock: systemClock,
    httpsProxy: undefined,
    random: systemRandom,
    service: 'ssh' as const,
    dataDir: '/nowhere',
  })
  const collect = async (
    join: Parameters<typeof collectorFor>[0],
    env: Record<string, string>,
  ): Promise<unknown> => {
    const collector = await collectorFor(join, machine(env))
    if (!('collect' in collector)) throw new Error('it begins before the challenge')
    const keys = { enrolment: 'e' as Thumbprint, serviceKey: 's' as Thumbprint }
    const { signal } = new AbortController()
    return collector.collect('', { signal, cluster: 'c.internal', keys })
  }
  const by = (method: 'gcp' | 'azure_devops' | 'buildkite' | 'circleci' | 'kubernetes') =>
    ({ method, tokenName: 'ci', idToken: undefined }) as const
  const jwt = 'e30.e30.c2ln'

  async function serve(
    answer: (url: URL, headers: Readonly<Record<string, unknown>>, method: string) => string,
    headers: Record<string, string> = {},
  ): Promise<{ readonly host: string; close(): void }> {
    const server = createServer((req, res) => {
      const url = new URL(req.url ?? '', 'http://localhost')
      res.writeHead(200, headers).end(answer(url, req.headers, req.method ?? ''))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    return { host: `127.0.0.1:${port}`, close: () => void server.close() }
  }

  test("from Google's metadata server, for this cluster and with the machine in it", async () => {
    const seen: string[] = []
    const metadata = await serve(
      (url, headers) => {
        seen.push(`${url.pathname}${url.search} ${String(headers['metadata-flavor'])}`)
        return jwt
      },
      { 'metadata-flavor': 'Google' },
    )
    const evidence = await collect(by('gcp'), { GCE_METADATA_HOST: metadata.host })
    metadata.close()
    expect(evidence).toEqual({ id_token: jwt })
    expect(seen).toEqual([
      '/computeMetadata/v1/instance/service-accounts/default/identity?audience=c.internal&format=full Google',
    ])
  })

  test('from no other server that happens to answer there', async () => {
    const other = await serve(() => jwt)
    await expect(collect(by('gcp'), { GCE_METADATA_HOST: other.host })).rejects.toMatchObject({
      code: 'ERR_TOKEN_NEEDED',
    })
    other.close()
  })

  test('from Azure DevOps, by POST with the access token of the pipeline', async () => {
    const seen: string[] = []
    const service = await serve((url, headers, method) => {
      seen.push(`${method} ${url.search} ${String(headers['authorization'])}`)
      return JSON.stringify({ oidcToken: jwt })
    })
    const evidence = await collect(by('azure_devops'), {
      SYSTEM_OIDCREQUESTURI: `http://${service.host}/oidc`,
      SYSTEM_ACCESSTOKEN: 'access',
    })
    service.close()
    expect(evidence).toEqual({ id_token: jwt })
    expect(seen).toEqual(['POST ?api-version=7.1 Bearer access'])
  })

  test("from Buildkite's own agent, found by PATH", async () => {
    const bin = join(gate.dir, 'bin')
    mkdirSync(bin)
    const script = join(bin, 'buildkite-agent')
    writeFileSync(
      script,
      `#!/bin/sh\n[ "$*" = "oidc request-token --audience c.internal" ] && echo ${jwt}\n`,
    )
    chmodSync(script, 0o755)
    expect(await collect(by('buildkite'), { PATH: `${bin}:/usr/bin:/bin` })).toEqual({
      id_token: jwt,
    })
    await expect(collect(by('buildkite'), { PATH: '/nowhere' })).rejects.toMatchObject({
      code: 'ERR_TOKEN_NEEDED',
    })
  })

  test('from a program that the configuration names, without a shell', async () => {
    const minted = (...command: string[]) =>
      ({ method: 'oidc', tokenName: 'ci', idToken: { kind: 'command', command } }) as const
    const env = { PATH: '/usr/bin:/bin' }
    expect(await collect(minted('printf', '%s\n', jwt), env)).toEqual({ id_token: jwt })
    const injected = collect(minted('echo', `$(printf ${jwt})`), env)
    await expect(injected).rejects.toThrow(/the answer of echo holds no id token/)
    await expect(collect(minted('false'), env)).rejects.toThrow(/names \(false\) failed/)
  })

  test.each([
    ['no variable', by('circleci'), {}, /CIRCLE_OIDC_TOKEN_V2 is not set/],
    [
      'a variable that is no JWT',
      by('circleci'),
      { CIRCLE_OIDC_TOKEN_V2: 'secret-x' },
      /holds no id token/,
    ],
    ['no file', by('kubernetes'), { KUBERNETES_TOKEN_PATH: '/nowhere/token' }, /cannot be read/],
    ['a file that is a directory', by('kubernetes'), { KUBERNETES_TOKEN_PATH: '/tmp' }, /no file/],
  ])('and what is missing is named: %s', async (_, join, env, says) => {
    const asked = collect(join, env)
    await expect(asked).rejects.toMatchObject({ code: 'ERR_TOKEN_NEEDED' })
    await expect(asked).rejects.toThrow(says)
    await expect(asked).rejects.not.toThrow(/secret-x/)
  })
})
