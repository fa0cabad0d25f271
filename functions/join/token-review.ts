/**
 * The Kubernetes cluster that this process runs in, asked whose a service account token is. Its address comes from the environment
 * that Kubernetes gives every pod, its CA and our own token from the files that it mounts; nothing of the evidence decides where the
 * question goes.
 */
import { readFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { isIP } from 'node:net'
import { join } from 'node:path'
import type { Clock } from '../../core/clock.ts'
import { AppError, isAppError } from '../../core/errors.ts'
import type { TokenReviewer } from '../../core/join/oidc/review.ts'
import { refuse } from '../../core/join/oidc/verify.ts'
import { LIMITS } from '../../core/limits.ts'

export interface KubernetesCluster {
  readonly host: string
  readonly port: number
  /** Holds `token` and `ca.crt`; the token is replaced there before it expires. */
  readonly dir: string
}

const FILES = '/var/run/secrets/kubernetes.io/serviceaccount'

/** The cluster around this process, by the variables that every pod has. */
export function clusterAround(
  env: Readonly<Record<string, string | undefined>>,
): KubernetesCluster | undefined {
  const host = env['KUBERNETES_SERVICE_HOST']
  const port = Number(env['KUBERNETES_SERVICE_PORT'])
  return host !== undefined && Number.isInteger(port) ? { host, port, dir: FILES } : undefined
}

const unreachable = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_UNREACHABLE', 'The Kubernetes cluster cannot be reached', {
    internal: `token review: ${internal}`,
    cause,
  })

async function bodyOf(answer: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > LIMITS.tokenReviewAnswer.value) throw refuse('token review: the answer is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

async function post(
  cluster: KubernetesCluster,
  body: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const ca = await readFile(join(cluster.dir, 'ca.crt'), 'utf8')
  const own = (await readFile(join(cluster.dir, 'token'), 'utf8')).trim()
  return new Promise((resolve, reject) => {
    const call = request(
      {
        method: 'POST',
        host: cluster.host.replaceAll(/[[\]]/g, ''),
        port: cluster.port,
        path: '/apis/authentication.k8s.io/v1/tokenreviews',
        headers: {
          authorization: `Bearer ${own}`,
          accept: 'application/json',
          'content-type': 'application/json',
          'content-length': String(Buffer.byteLength(body)),
        },
        ca,
        ...(isIP(cluster.host) === 0 ? { servername: cluster.host } : {}),
        maxHeaderSize: LIMITS.httpHeaders.value,
        agent: false,
        signal,
      },
      resolve,
    )
    call.on('error', reject)
    call.end(body)
  })
}

export function createTokenReviewer(deps: {
  readonly clock: Clock
  /** undefined = the control plane runs in no Kubernetes cluster. */
  readonly cluster: KubernetesCluster | undefined
}): TokenReviewer {
  const { clock, cluster } = deps
  return {
    async review(token, audience) {
      if (!cluster) throw refuse('token review: the control plane runs in no Kubernetes cluster')
      const abort = new AbortController()
      const timer = clock.after(LIMITS.tokenReviewTimeout.value, () =>
        abort.abort(unreachable('no answer in time')),
      )
      const wanted = {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        spec: { token, audiences: [audience] },
      }
      try {
        const answer = await post(cluster, JSON.stringify(wanted), abort.signal)
        const status = answer.statusCode ?? 0
        const body = await bodyOf(answer)
        if (status === 200 || status === 201) return body
        if (status === 429 || status >= 500) throw unreachable(`status ${status}`)
        // 403: the service account of the control plane lacks system:auth-delegator.
        throw refuse(`token review: the cluster answered ${status}`)
      } catch (e) {
        if (abort.signal.aborted) throw abort.signal.reason
        if (isAppError(e)) throw e
        throw unreachable(e instanceof Error ? e.message : String(e), e)
      } finally {
        timer.cancel()
      }
    },
  }
}
