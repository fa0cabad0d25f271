/** The instance metadata service, version 2: a session by PUT, and nothing without one. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface FakeImds {
  /** For AWS_EC2_METADATA_SERVICE_ENDPOINT. */
  readonly endpoint: string
  /** Texts by path under /latest/. */
  readonly texts: Map<string, string>
  close(): Promise<void>
}

export async function fakeImds(texts: Record<string, string> = {}): Promise<FakeImds> {
  const known = new Map(Object.entries(texts))
  const session = 'session-of-this-instance'
  const server = createServer((request, response) => {
    const path = request.url?.replace('/latest/', '') ?? ''
    if (path === 'api/token') {
      const asked = request.headers['x-aws-ec2-metadata-token-ttl-seconds'] !== undefined
      response.writeHead(request.method === 'PUT' && asked ? 200 : 405).end(session)
      return
    }
    if (request.headers['x-aws-ec2-metadata-token'] !== session) {
      response.writeHead(401).end()
      return
    }
    const text = known.get(path)
    response.writeHead(text === undefined ? 404 : 200).end(text)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    texts: known,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
