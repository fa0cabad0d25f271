/** The instance metadata service of EC2, version 2 only: version 1 answers whoever can make this machine send a request. */
import { AppError } from '../../../core/errors.ts'
import type { LocalHttp } from '../local-http.ts'

type Env = Readonly<Record<string, string | undefined>>

export interface Imds {
  /** The text at a path under `/latest/`; undefined when the service says that there is none. */
  get(path: string): Promise<string | undefined>
}

/** Opens a session. The address may be set by the variable that AWS's own tools read. */
export async function openImds(http: LocalHttp, env: Env, signal: AbortSignal): Promise<Imds> {
  if (env['AWS_EC2_METADATA_DISABLED']?.toLowerCase() === 'true')
    throw new AppError(
      'ERR_UNREACHABLE',
      'AWS_EC2_METADATA_DISABLED turns the metadata service off',
    )
  const base = env['AWS_EC2_METADATA_SERVICE_ENDPOINT'] ?? 'http://169.254.169.254'
  const url = (path: string): URL => new URL(`/latest/${path}`, base)
  const session = await http({
    method: 'PUT',
    url: url('api/token'),
    headers: { 'x-aws-ec2-metadata-token-ttl-seconds': '60' },
    signal,
  })
  if (session.status !== 200)
    throw new AppError(
      'ERR_UNREACHABLE',
      `the metadata service refused a session: ${session.status}`,
    )
  const headers = { 'x-aws-ec2-metadata-token': session.body }
  return {
    async get(path) {
      const { status, body } = await http({ method: 'GET', url: url(path), headers, signal })
      if (status === 404) return undefined
      if (status === 200) return body
      throw new AppError('ERR_UNREACHABLE', `the metadata service answered ${status}`)
    },
  }
}
