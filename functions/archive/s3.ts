/** Objects of S3, as far as the archive goes: a put with its checksum, signed here, so that no SDK is carried for one call. */
import { createHash } from 'node:crypto'
import { signV4, type AwsCredentials } from '../../core/aws/sigv4.ts'
import type { Clock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'

export interface ObjectStore {
  /** Durable when it resolves. `key`: letters, digits and `/._-`. Throws ERR_UNREACHABLE. */
  put(key: string, body: Uint8Array, contentType: string): Promise<void>
}

export interface S3Deps {
  readonly bucket: string
  readonly region: string
  /** Asked at each call: a function's credentials change while it is warm. */
  readonly credentials: () => AwsCredentials
  readonly clock: Clock
  /** Default: the global one. */
  readonly fetch?: typeof fetch
  /** For an emulator: origin that answers in place of AWS. */
  readonly endpoint?: string | undefined
}

const KEY = /^[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/

export function createS3(deps: S3Deps): ObjectStore {
  const { bucket, region, clock } = deps
  const host = deps.endpoint ? new URL(deps.endpoint).host : `${bucket}.s3.${region}.amazonaws.com`
  const origin = deps.endpoint ?? `https://${host}`
  return {
    async put(key, body, contentType) {
      if (!KEY.test(key)) throw new AppError('ERR_INTERNAL', undefined, { internal: `key ${key}` })
      const path = deps.endpoint ? `/${bucket}/${key}` : `/${key}`
      const digest = createHash('sha256').update(body).digest()
      const headers = signV4(
        {
          method: 'PUT',
          host,
          path,
          headers: {
            'content-type': contentType,
            'x-amz-content-sha256': digest.toString('hex'),
            // A bucket with object lock takes no object without one.
            'x-amz-checksum-sha256': digest.toString('base64'),
          },
          body,
        },
        { region, service: 's3' },
        deps.credentials(),
        clock.now(),
      )
      const answer = await (deps.fetch ?? fetch)(`${origin}${path}`, {
        method: 'PUT',
        headers: Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'host')),
        body,
        signal: AbortSignal.timeout(LIMITS.archiveTimeout.value),
      }).catch((cause: unknown) => {
        throw new AppError('ERR_UNREACHABLE', 'the archive cannot be reached', { cause })
      })
      // Whatever it says, the status is what counts; the text is read so that the connection can be used again.
      await answer.arrayBuffer()
      if (answer.ok) return
      throw new AppError('ERR_UNREACHABLE', 'the archive cannot be written', {
        internal: `S3 put ${key}: ${answer.status}`,
      })
    },
  }
}
