/**
 * The call of AWS STS for method `iam`. The host is one of the list in core/join/aws-regions, checked before; nothing else of the
 * evidence decides where the connection goes. No redirect is followed, TLS is verified, the answer is capped and bound in time.
 */
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import type { Clock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import type { StsAnswer, StsClient } from '../../core/join/iam.ts'
import { LIMITS } from '../../core/limits.ts'

/** Where a test's STS listens instead. Comes from whoever wires the control plane, never from a request. */
export interface StsAddress {
  readonly host: string
  readonly port: number
  /** PEM of the CA of its certificate, which is made out to the real name. */
  readonly ca: string
}

const unreachable = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_UNREACHABLE', 'AWS STS cannot be reached', { internal, cause })

async function bodyOf(answer: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length
    // A longer answer is none of STS: what it says is no longer of interest.
    if (size > LIMITS.stsAnswer.value)
      throw new AppError('ERR_JOIN_REFUSED', undefined, { internal: 'iam: STS answered too much' })
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

export function createStsClient(deps: {
  readonly clock: Clock
  readonly at?: StsAddress
}): StsClient {
  const { clock, at } = deps
  return {
    async call(host, headers, body): Promise<StsAnswer> {
      const abort = new AbortController()
      const timer = clock.after(LIMITS.stsTimeout.value, () =>
        abort.abort(new AppError('ERR_TIMEOUT', 'AWS STS did not answer in time')),
      )
      try {
        const answer = await new Promise<IncomingMessage>((resolve, reject) => {
          const call = request(
            {
              method: 'POST',
              host: at?.host ?? host,
              port: at?.port ?? 443,
              path: '/',
              servername: host,
              headers: { ...headers, 'content-length': String(Buffer.byteLength(body)) },
              maxHeaderSize: LIMITS.httpHeaders.value,
              signal: abort.signal,
              agent: false,
              ...(at ? { ca: at.ca } : {}),
            },
            resolve,
          )
          call.on('error', reject)
          call.end(body)
        })
        return {
          status: answer.statusCode ?? 0,
          contentType: answer.headers['content-type'],
          body: await bodyOf(answer),
        }
      } catch (e) {
        if (abort.signal.aborted) throw abort.signal.reason
        if (e instanceof AppError) throw e
        throw unreachable(e instanceof Error ? e.message : String(e), e)
      } finally {
        timer.cancel()
      }
    },
  }
}
