/**
 * Services of AWS as far as our few own calls go: any request is taken when its signature is right, recomputed from the secret by the
 * text of the AWS documentation and not by the code under test. S3 keeps objects; others answer what a test gives them. Speaks HTTP on
 * loopback, under any host name.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface FakeAws {
  readonly origin: string
  readonly key: { readonly id: string; readonly secret: string; readonly token: string }
  /** By path, as `/bucket/key`. */
  readonly objects: Map<string, Buffer>
  /** Newest last. */
  readonly calls: {
    readonly service: string
    readonly method: string
    readonly path: string
    readonly body: string
  }[]
  /** Answers of services other than S3; default: an empty document. */
  answer(service: string, body: string): void
  close(): Promise<void>
}

const hash = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex')
const mac = (key: Buffer | string, text: string): Buffer =>
  createHmac('sha256', key).update(text).digest()
const same = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))

interface Signed {
  readonly date: string
  readonly credential: string
  readonly names: string
  readonly signature: string
  readonly query: string
  readonly payload: string
}

function signedOf(request: IncomingMessage, url: URL, body: Buffer): Signed {
  const params = [...url.searchParams.entries()].map(([k, v]) => [
    encodeURIComponent(k),
    encodeURIComponent(v),
  ])
  const of = (name: string): string => url.searchParams.get(name) ?? ''
  if (url.searchParams.has('X-Amz-Signature')) {
    const rest = params.filter(([k]) => k !== 'X-Amz-Signature').sort()
    return {
      date: of('X-Amz-Date'),
      credential: of('X-Amz-Credential'),
      names: of('X-Amz-SignedHeaders'),
      signature: of('X-Amz-Signature'),
      query: rest.map((pair) => pair.join('=')).join('&'),
      payload: 'UNSIGNED-PAYLOAD',
    }
  }
  const auth = String(request.headers.authorization)
  const part = (name: string): string => new RegExp(`${name}=([^,\\s]+)`).exec(auth)?.[1] ?? ''
  return {
    date: String(request.headers['x-amz-date']),
    credential: part('Credential'),
    names: part('SignedHeaders'),
    signature: part('Signature'),
    query: params
      .sort()
      .map((pair) => pair.join('='))
      .join('&'),
    payload: hash(body),
  }
}

export async function fakeAws(): Promise<FakeAws> {
  const key = { id: 'AKIAFAKEFAKEFAKEFAKE', secret: 'not a real secret', token: 'session-token' }
  const objects = new Map<string, Buffer>()
  const calls: FakeAws['calls'] = []
  const answers = new Map<string, string>()

  /** The service that the request is rightly signed for, or why it is not. */
  function check(
    request: IncomingMessage,
    url: URL,
    body: Buffer,
  ): { service?: string; refused?: string } {
    const signed = signedOf(request, url, body)
    const [id = '', day = '', region = '', service = ''] = signed.credential.split('/')
    if (id !== key.id) return { refused: 'InvalidAccessKeyId' }
    const token =
      request.headers['x-amz-security-token'] ?? url.searchParams.get('X-Amz-Security-Token')
    if (token !== key.token) return { refused: 'InvalidToken' }
    const headers = signed.names
      .split(';')
      .map((name) => `${name}:${String(request.headers[name])}\n`)
    const canonical = `${request.method}\n${url.pathname}\n${signed.query}\n${headers.join('')}\n${signed.names}\n${signed.payload}`
    const scope = `${day}/${region}/${service}/aws4_request`
    let signing: Buffer = mac(`AWS4${key.secret}`, day)
    for (const step of [region, service, 'aws4_request']) signing = mac(signing, step)
    const wanted = mac(signing, `AWS4-HMAC-SHA256\n${signed.date}\n${scope}\n${hash(canonical)}`)
    return same(wanted.toString('hex'), signed.signature)
      ? { service }
      : { refused: 'SignatureDoesNotMatch' }
  }

  function reply(
    request: IncomingMessage,
    url: URL,
    body: Buffer,
  ): { status: number; body: Buffer | string } {
    const { service, refused } = check(request, url, body)
    if (service === undefined)
      return { status: 403, body: `<Error><Code>${refused}</Code></Error>` }
    const { method = '' } = request
    calls.push({ service, method, path: url.pathname, body: body.toString('latin1') })
    if (service !== 's3') return { status: 200, body: answers.get(service) ?? '<ok/>' }
    if (method === 'PUT') {
      const given = String(request.headers['x-amz-checksum-sha256'])
      const sum = createHash('sha256').update(body).digest('base64')
      // What S3 says to a put without its checksum into a bucket with object lock.
      if (given !== sum) return { status: 400, body: '<Error><Code>InvalidRequest</Code></Error>' }
      objects.set(url.pathname, body)
      return { status: 200, body: '' }
    }
    const found = objects.get(url.pathname)
    return found
      ? { status: 200, body: found }
      : { status: 404, body: '<Error><Code>NoSuchKey</Code></Error>' }
  }

  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const url = new URL(request.url ?? '/', `http://${request.headers.host}`)
      const { status, body } = reply(request, url, Buffer.concat(chunks))
      response.writeHead(status, { 'content-length': Buffer.byteLength(body) })
      response.end(body)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    origin: `http://127.0.0.1:${port}`,
    key,
    objects,
    calls,
    answer: (service, body) => void answers.set(service, body),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
