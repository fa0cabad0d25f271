/**
 * The API server of a Kubernetes cluster as far as TokenReview goes: it signs service account tokens for pods, and says of a token that
 * it is shown what the real one says: signature, time, audience, and whether the pod still lives. Whoever asks has to be allowed to.
 */
import { createPublicKey, verify } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../../core/clock.ts'
import type { KubernetesCluster } from '../../functions/join/token-review.ts'
import { signIdToken, signingKey, type SigningKey } from '../support/id-tokens.ts'
import { serverTls } from '../support/tls.ts'

type Status = Record<string, unknown>
export interface FakeKube {
  readonly cluster: KubernetesCluster
  readonly key: SigningKey
  /** Living pods, `namespace/name`. */
  readonly pods: Set<string>
  /** Tokens that were asked about. */
  readonly asked: string[]
  /** The token of a pod of `namespace:account`. */
  token(account: string, audience: string, change?: object): string
  /** Changes the next answer: another status, or another HTTP status. */
  next(change: ((status: Status) => Status) | number): void
  close(): Promise<void>
}

const OWN = 'token-of-the-control-plane'

export async function fakeKube(clock: Clock): Promise<FakeKube> {
  const key = signingKey('RS256')
  const tls = await serverTls()
  const dir = mkdtempSync(join(tmpdir(), 'postern-kube-'))
  writeFileSync(join(dir, 'ca.crt'), tls.ca)
  writeFileSync(join(dir, 'token'), `${OWN}\n`)
  const pods = new Set(['web/postern-0'])
  const asked: string[] = []
  const now = (): number => Math.floor(clock.now() / 1000)
  let override: ((status: Status) => Status) | number | undefined

  function review(token: string, audiences: readonly string[]): Status {
    const [head = '', payload = '', signature = ''] = token.split('.')
    const input = Buffer.from(`${head}.${payload}`)
    const fails = (error: string): Status => ({ authenticated: false, error })
    const publicKey = createPublicKey(key.publicKey.export({ type: 'spki', format: 'pem' }))
    if (!verify('sha256', input, publicKey, Buffer.from(signature, 'base64url')))
      return fails('invalid bearer token')
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as {
      aud: string[]
      exp: number
      sub: string
      'kubernetes.io'?: { namespace: string; pod?: { name: string; uid: string } }
    }
    if (claims.exp <= now()) return fails('service account token has expired')
    const shared = claims.aud.filter((one) => audiences.includes(one))
    if (shared.length === 0) return fails('token audiences are invalid for the target audiences')
    const bound = claims['kubernetes.io']
    const pod = bound?.pod
    if (pod && !pods.has(`${bound.namespace}/${pod.name}`)) return fails('pod is gone')
    const extra = pod
      ? {
          'authentication.kubernetes.io/pod-name': [pod.name],
          'authentication.kubernetes.io/pod-uid': [pod.uid],
        }
      : {}
    return {
      authenticated: true,
      user: { username: claims.sub, uid: '1', groups: ['system:serviceaccounts'], extra },
      audiences: shared,
    }
  }

  const server = createServer(tls.options, (request, response) => {
    void (async () => {
      const chunks: Buffer[] = []
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
      const body = JSON.parse(Buffer.concat(chunks).toString()) as {
        spec: { token: string; audiences: string[] }
      }
      response.setHeader('content-type', 'application/json')
      const path = '/apis/authentication.k8s.io/v1/tokenreviews'
      if (request.url !== path || request.method !== 'POST') return response.writeHead(404).end()
      if (request.headers.authorization !== `Bearer ${OWN}`) return response.writeHead(401).end()
      asked.push(body.spec.token)
      const change = override
      override = undefined
      if (typeof change === 'number') return response.writeHead(change).end('{}')
      const status = review(body.spec.token, body.spec.audiences)
      return response.writeHead(201).end(
        JSON.stringify({
          kind: 'TokenReview',
          apiVersion: 'authentication.k8s.io/v1',
          metadata: {},
          spec: body.spec,
          status: change?.(status) ?? status,
        }),
      )
    })()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    cluster: { host: '127.0.0.1', port: (server.address() as AddressInfo).port, dir },
    key,
    pods,
    asked,
    token(account, audience, change = {}) {
      const [namespace = '', name = ''] = account.split(':')
      return signIdToken(key, {
        aud: [audience],
        exp: now() + 600,
        iat: now(),
        nbf: now(),
        iss: 'https://kubernetes.default.svc.cluster.local',
        'kubernetes.io': {
          namespace,
          pod: { name: 'postern-0', uid: '7' },
          serviceaccount: { name, uid: '1' },
        },
        sub: `system:serviceaccount:${namespace}:${name}`,
        ...change,
      })
    },
    next: (change) => void (override = change),
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
