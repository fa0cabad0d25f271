/**
 * AWS STS as far as GetCallerIdentity goes: real HTTPS under the real names, and it recomputes the signature from the secret it knows
 * for a key, by the text of the AWS documentation and not by the code under test. What it refuses it refuses as STS does.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { createServer, type Server } from 'node:https'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { instant, plus, type Clock } from '../../core/clock.ts'
import { STS_HOSTS } from '../../core/join/aws-regions.ts'
import { generateKey } from '../../core/certs/signer.ts'
import { issueCertificate } from '../../core/certs/x509.ts'
import { toPem } from '../../core/certs/x509-read.ts'
import type { StsAddress } from '../../functions/join/sts.ts'
import { HOUR, makeCa } from '../support/pki.ts'

export interface Principal {
  readonly secretAccessKey: string
  readonly sessionToken?: string
  readonly account: string
  readonly arn: string
}
type Override = (normal: Reply) => Partial<Reply> | 'hang'
interface Reply {
  readonly status: number
  readonly type: string
  readonly body: string
  readonly headers?: Record<string, string>
}

export interface FakeSts {
  readonly at: StsAddress
  /** Keys by id. */
  readonly principals: Map<string, Principal>
  /** What it was asked, newest last: method, host and body. */
  readonly calls: string[]
  /** Answers the next call otherwise. */
  next(override: Override): void
  close(): Promise<void>
}

const hash = (text: string): string => createHash('sha256').update(text).digest('hex')
const mac = (key: Buffer | string, text: string): Buffer =>
  createHmac('sha256', key).update(text).digest()
const refused = (code: string): Reply => ({
  status: 403,
  type: 'application/json',
  body: JSON.stringify({ Error: { Code: code, Type: 'Sender' } }),
})

export async function fakeSts(clock: Clock): Promise<FakeSts> {
  const now = instant(Date.now())
  const ca = await makeCa('STS test CA', 'ES256', now)
  const keys = generateKey()
  const der = await issueCertificate({
    subject: 'sts',
    publicKey: keys.publicKey,
    issuer: ca,
    notBefore: plus(now, -60_000),
    notAfter: plus(now, HOUR),
    dns: [...STS_HOSTS],
    usage: ['server'],
  })
  const principals = new Map<string, Principal>()
  const calls: string[] = []
  const overrides: Override[] = []

  function check(request: IncomingMessage, body: string): Reply {
    const { headers } = request
    const auth = String(headers.authorization)
    const part = (name: string): string => new RegExp(`${name}=([^,\\s]+)`).exec(auth)?.[1] ?? ''
    const [id = '', day = '', region = '', service = ''] = part('Credential').split('/')
    const who = principals.get(id)
    if (!who) return refused('InvalidClientTokenId')
    const date = String(headers['x-amz-date'])
    const at = Date.parse(date.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'))
    if (!(Math.abs(clock.now() - at) < 15 * 60_000)) return refused('SignatureDoesNotMatch')
    if (who.sessionToken !== headers['x-amz-security-token']) return refused('InvalidClientTokenId')
    const signed = part('SignedHeaders').split(';')
    const canonical = `${request.method}\n${request.url}\n\n${signed
      .map((name) => `${name}:${String(headers[name])}\n`)
      .join('')}\n${signed.join(';')}\n${hash(body)}`
    const scope = `${day}/${region}/${service}/aws4_request`
    const text = `AWS4-HMAC-SHA256\n${date}\n${scope}\n${hash(canonical)}`
    let key: Buffer = mac(`AWS4${who.secretAccessKey}`, day)
    for (const step of [region, service, 'aws4_request']) key = mac(key, step)
    const given = Buffer.from(part('Signature'), 'hex')
    const wanted = mac(key, text)
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted))
      return refused('SignatureDoesNotMatch')
    if (headers.accept !== 'application/json')
      return { status: 200, type: 'text/xml', body: `<Account>${who.account}</Account>` }
    const result = { Account: who.account, Arn: who.arn, UserId: 'AROAEXAMPLE:session' }
    const answer = { GetCallerIdentityResult: result, ResponseMetadata: { RequestId: 'r-1' } }
    return {
      status: 200,
      type: 'application/json',
      body: JSON.stringify({ GetCallerIdentityResponse: answer }),
    }
  }

  const server: Server = createServer(
    { key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }), cert: toPem(der) },
    (request, response) => {
      let body = ''
      request.on('data', (chunk: Buffer) => (body += chunk.toString()))
      request.on('end', () => {
        calls.push(`${request.method} ${request.headers.host} ${body}`)
        const normal = check(request, body)
        const override = overrides.shift()?.(normal)
        if (override === 'hang') return
        const reply = { ...normal, ...override }
        response.writeHead(reply.status, { 'content-type': reply.type, ...reply.headers })
        response.end(reply.body)
      })
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    at: { host: '127.0.0.1', port, ca: toPem(ca.certificate.raw) },
    principals,
    calls,
    next: (override) => void overrides.push(override),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
