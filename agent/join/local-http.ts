/**
 * Questions to services of this very machine: metadata endpoints at link-local addresses. Plain HTTP, and for that reason to a
 * short list of addresses only; never through a proxy, never redirected, capped and bound in time.
 */
import { request } from 'node:http'
import { isIP } from 'node:net'
import type { Clock } from '../../core/clock.ts'
import { AppError, isAppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'

export interface LocalAnswer {
  readonly status: number
  readonly body: string
}
export interface LocalRequest {
  readonly method: 'GET' | 'PUT'
  readonly url: URL
  readonly headers?: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}
/** Rejects with ERR_UNREACHABLE or ERR_TIMEOUT, or the signal's reason. */
export type LocalHttp = (request: LocalRequest) => Promise<LocalAnswer>

/** Instance metadata, container credentials, and the same over IPv6. */
const LINK_LOCAL: readonly string[] = [
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  '[fd00:ec2::254]',
  '[fd00:ec2::23]',
]
const isLocal = (host: string): boolean =>
  LINK_LOCAL.includes(host) ||
  host === 'localhost' ||
  host === '[::1]' ||
  (isIP(host) === 4 && host.startsWith('127.'))

export function localHttp(clock: Clock): LocalHttp {
  return async ({ method, url, headers = {}, signal }) => {
    const unreachable = (why: string, cause?: unknown): AppError =>
      new AppError('ERR_UNREACHABLE', `the metadata service ${url.host} ${why}`, { cause })
    if (url.protocol !== 'http:' || !isLocal(url.hostname)) throw unreachable('is not a local one')
    const abort = new AbortController()
    const onAbort = (): void => abort.abort(signal.reason)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    const timer = clock.after(LIMITS.metadataTimeout.value, () =>
      abort.abort(unreachable('did not answer in time')),
    )
    try {
      return await new Promise<LocalAnswer>((resolve, reject) => {
        const call = request(
          url,
          { method, headers, agent: false, signal: abort.signal },
          (answer) => {
            const chunks: Buffer[] = []
            let size = 0
            answer.on('data', (chunk: Buffer) => {
              size += chunk.length
              if (size > LIMITS.metadataAnswer.value) call.destroy(unreachable('answered too much'))
              else chunks.push(chunk)
            })
            answer.on('error', reject)
            answer.on('end', () =>
              resolve({
                status: answer.statusCode ?? 0,
                body: Buffer.concat(chunks).toString('utf8'),
              }),
            )
          },
        )
        call.on('error', reject)
        call.end()
      })
    } catch (e) {
      if (abort.signal.aborted) throw abort.signal.reason
      throw isAppError(e) ? e : unreachable('cannot be reached', e)
    } finally {
      timer.cancel()
      signal.removeEventListener('abort', onAbort)
    }
  }
}
