/**
 * Where the agent's archives are. In the cloud a short-lived URL of the artefact bucket, since functions and HTTP APIs cap bodies far
 * below an archive's size; on one machine the file itself.
 */
import { presignV4, type AwsCredentials } from '../../core/aws/sigv4.ts'
import type { Clock } from '../../core/clock.ts'
import { LIMITS } from '../../core/limits.ts'

export const ARCHES = ['x64', 'arm64'] as const
export type Arch = (typeof ARCHES)[number]

export interface Archive {
  /** 64 hexadecimal digits. */
  readonly sha256: string
}
/** What a GET of an archive is answered with. */
export type Found =
  | { readonly location: string }
  | { readonly body: ReadableStream<Uint8Array>; readonly size: number }

export interface Downloads {
  readonly archives: Readonly<Record<Arch, Archive>>
  open(arch: Arch): Promise<Found>
}

export interface BucketArchive extends Archive {
  readonly bucket: string
  readonly key: string
}

/** From a bucket, by URLs that are good for `downloadUrl`. */
export function bucketDownloads(deps: {
  readonly archives: Readonly<Record<Arch, BucketArchive>>
  readonly region: string
  readonly credentials: () => AwsCredentials
  readonly clock: Clock
}): Downloads {
  const { archives, region, clock } = deps
  return {
    archives,
    async open(arch) {
      const { bucket, key } = archives[arch]
      const location = presignV4(
        {
          host: `${bucket}.s3.${region}.amazonaws.com`,
          path: `/${key}`,
          expires: LIMITS.downloadUrl.value,
        },
        { region, service: 's3' },
        deps.credentials(),
        clock.now(),
      )
      return { location }
    },
  }
}
