/**
 * Azure as far as a join goes: a metadata service that signs attested documents (by openssl, with a certificate of a CA of its own)
 * and hands out tokens of a managed identity, the key set of Microsoft Entra, and Azure Resource Manager, which checks the token
 * it is shown. The last two speak real HTTPS under the real names.
 */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttp, type Server } from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SigningKey } from '../../core/join/azure/attested.ts'
import { fromSeconds, instant, plus, type Clock, type Instant } from '../../core/clock.ts'
import { toPem } from '../../core/certs/x509-read.ts'
import type { StsAddress } from '../../functions/join/sts.ts'
import { foreignCa, foreignKey, type ForeignCa, type ForeignKey } from '../support/foreign-ca.ts'
import { jwksOf, signIdToken, signingKey, type SigningKey as JwtKey } from '../support/id-tokens.ts'
import { serverTls } from '../support/tls.ts'

export interface AzureVm {
  readonly vmId: string
  readonly subscription: string
  readonly resourceGroup: string
  readonly name: string
  readonly tenant: string
}

export const VM: AzureVm = {
  vmId: '02aab8a4-74ef-476e-8182-f6d2ba4166a6',
  subscription: '8d10da13-8125-4ba9-a717-bf7490507b3d',
  resourceGroup: 'Web-RG',
  name: 'web-1',
  tenant: '4c1f2b1e-0000-4000-8000-000000000001',
}

export const resourceId = (vm: AzureVm): string =>
  `/subscriptions/${vm.subscription}/resourcegroups/${vm.resourceGroup}/providers/Microsoft.Compute/virtualMachines/${vm.name}`

/** As the documents have it: month first. */
const stamp = (at: Instant): string => {
  const iso = new Date(at).toISOString()
  return `${iso.slice(5, 7)}/${iso.slice(8, 10)}/${iso.slice(2, 4)} ${iso.slice(11, 19)} -0000`
}

export interface Signer {
  readonly key: ForeignKey
  readonly certificate: Buffer
}

/** CMS as Azure makes it: no signed attributes, the certificate inside. `options`: of `openssl cms -sign`; `beside`: another certificate. */
export function signAttested(
  content: string | object,
  signer: Signer,
  options: readonly string[] = ['-noattr'],
  beside?: Buffer,
): string {
  const dir = mkdtempSync(join(tmpdir(), 'postern-azure-'))
  try {
    const key = signer.key.privateKey.export({ type: 'pkcs8', format: 'pem' })
    writeFileSync(join(dir, 'key.pem'), key, { mode: 0o600 })
    writeFileSync(join(dir, 'cert.pem'), toPem(signer.certificate))
    writeFileSync(join(dir, 'in'), typeof content === 'string' ? content : JSON.stringify(content))
    if (beside) writeFileSync(join(dir, 'beside.pem'), toPem(beside))
    execFileSync(
      'openssl',
      [
        ...['cms', '-sign', '-binary', '-nodetach', '-md', 'sha256', '-signer', 'cert.pem'],
        ...['-inkey', 'key.pem', '-in', 'in', '-outform', 'DER', '-out', 'out', ...options],
        ...(beside ? ['-certfile', 'beside.pem'] : []),
      ],
      { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] },
    )
    return readFileSync(join(dir, 'out')).toString('base64')
  } finally {
    rmSync(dir, { recursive: true })
  }
}

export interface FakeAzure {
  readonly ca: ForeignCa
  /** What the control plane is told of the CA. */
  readonly signingKeys: readonly SigningKey[]
  readonly signer: Signer
  readonly tokenKey: JwtKey
  /** For AZURE_POD_IDENTITY_AUTHORITY_HOST. */
  readonly metadata: string
  readonly at: (host: string) => StsAddress | undefined
  /** VMs by lower case resource id: what Azure Resource Manager knows. */
  readonly vms: Map<string, AzureVm>
  /** What it was asked, newest last. */
  readonly asked: string[]
  /** Answers Azure Resource Manager's next question otherwise. */
  next(status: number, body: string): void
  /** A certificate for the metadata service. */
  certify(change?: object, by?: ForeignCa): Signer
  document(nonce: string, vm?: AzureVm, change?: object): object
  accessToken(vm?: AzureVm, change?: object): string
  close(): Promise<void>
}

export async function fakeAzure(clock: Clock): Promise<FakeAzure> {
  const now = clock.now()
  const ca = foreignCa('Test Azure TLS CA', now)
  const tokenKey = signingKey('RS256')
  const dns = ['eastus.metadata.azure.com', 'metadata.azure.com']
  const leafKey = foreignKey()
  const certify: FakeAzure['certify'] = (change = {}, by = ca) => ({
    key: leafKey,
    certificate: by.issue({ subject: dns[1] ?? '', publicKey: leafKey.publicKey, dns, ...change }),
  })
  const signer = certify()
  const vms = new Map([[resourceId(VM).toLowerCase(), VM]])
  const asked: string[] = []
  let override: { status: number; body: string } | undefined

  const document: FakeAzure['document'] = (nonce, vm = VM, change = {}) => ({
    licenseType: '',
    nonce,
    plan: { name: '', product: '', publisher: '' },
    sku: '22_04-lts',
    subscriptionId: vm.subscription,
    timeStamp: {
      createdOn: stamp(clock.now()),
      expiresOn: stamp(plus(clock.now(), 6 * 3_600_000)),
    },
    vmId: vm.vmId,
    ...change,
  })
  const accessToken: FakeAzure['accessToken'] = (vm = VM, change = {}) => {
    const iat = Math.floor(clock.now() / 1000)
    return signIdToken(tokenKey, {
      aud: 'https://management.azure.com/',
      iss: `https://sts.windows.net/${vm.tenant}/`,
      iat,
      nbf: iat,
      exp: iat + 86_400,
      sub: 'object-of-the-identity',
      tid: vm.tenant,
      ver: '1.0',
      xms_mirid: resourceId(vm),
      ...change,
    })
  }

  const tls = await serverTls(undefined, ['login.microsoftonline.com', 'management.azure.com'])
  const cloud = createHttps(tls.options, (request, response) => {
    const url = new URL(request.url ?? '/', `https://${request.headers.host ?? ''}`)
    asked.push(url.host.replace(/:\d+$/, '') + url.pathname)
    response.setHeader('content-type', 'application/json')
    if (url.pathname === '/common/discovery/keys') return void response.end(jwksOf(tokenKey))
    if (override) {
      const { status, body } = override
      override = undefined
      return void response.writeHead(status).end(body)
    }
    const vm = vms.get(decodeURIComponent(url.pathname).toLowerCase())
    const bearer = request.headers.authorization?.split('.')[1] ?? ''
    const claims = JSON.parse(Buffer.from(bearer, 'base64url').toString() || '{}') as object
    if (!('xms_mirid' in claims)) return void response.writeHead(401).end('{}')
    if (!vm || url.searchParams.get('api-version') === null)
      return void response.writeHead(404).end('{}')
    response.end(
      JSON.stringify({ id: resourceId(vm), properties: { vmId: vm.vmId.toUpperCase() } }),
    )
  })
  const metadata = createHttp((request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost')
    if (request.headers['metadata'] !== 'true') return void response.writeHead(400).end()
    switch (url.pathname) {
      case '/metadata/attested/document': {
        const nonce = url.searchParams.get('nonce') ?? ''
        const signature = signAttested(document(nonce.slice(0, 32)), signer)
        return void response.end(JSON.stringify({ encoding: 'pkcs7', signature }))
      }
      case '/metadata/identity/oauth2/token':
        if (url.searchParams.get('resource') !== 'https://management.azure.com/')
          return void response.writeHead(400).end()
        return void response.end(
          JSON.stringify({ access_token: accessToken(), token_type: 'Bearer' }),
        )
      default:
        return void response.writeHead(404).end()
    }
  })
  const listen = async (server: Server): Promise<number> => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }
  const address = { host: '127.0.0.1', port: await listen(cloud), ca: tls.ca }
  const metadataPort = await listen(metadata)
  const names = ['login.microsoftonline.com', 'management.azure.com']

  return {
    ca,
    signingKeys: [
      { name: ca.name, until: fromSeconds(instant(now) / 1000 + 86_400), key: ca.key.publicKey },
    ],
    signer,
    tokenKey,
    metadata: `http://127.0.0.1:${metadataPort}`,
    at: (host) => (names.includes(host) ? address : undefined),
    vms,
    asked,
    next: (status, body) => void (override = { status, body }),
    certify,
    document,
    accessToken,
    async close() {
      for (const server of [cloud, metadata]) {
        server.closeAllConnections()
        server.close()
        await once(server, 'close')
      }
    },
  }
}
