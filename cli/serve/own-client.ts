/** A client of the control plane in this very process: no socket, because what stands in front of it may not be there yet. */
import { problemError } from '../../core/api/problem.ts'
import type { LocalControlPlane } from '../../functions/wiring.ts'
import type { ApiClient } from '../../net/http-client.ts'

export function ownClient(
  plane: Pick<LocalControlPlane, 'fetch'>,
  origin: string,
  bearer: string,
): ApiClient {
  const send: ApiClient['send'] = async (method, path, body) => {
    const response = await plane.fetch(
      new Request(new URL(path, origin), {
        method,
        headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
      { ip: '127.0.0.1' },
    )
    const bytes = Buffer.from(await response.arrayBuffer())
    if (response.status >= 400) throw problemError({ status: response.status, body: bytes })
    return {
      status: response.status,
      body: bytes.length === 0 ? undefined : (JSON.parse(bytes.toString('utf8')) as unknown),
      etag: response.headers.get('etag') ?? undefined,
      requestId: response.headers.get('x-request-id') ?? undefined,
    }
  }
  return {
    send,
    request: async (...call) => (await send(...call)).body,
    clockOffset: 0,
    close: () => undefined,
  }
}
