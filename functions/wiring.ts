/**
 * The control plane of one machine: the same app as in the cloud over the embedded store, CA keys in files. `postern up` and
 * the tests start it here; nothing else differs from a deployment.
 */
import type { KeyObject } from 'node:crypto'
import { join } from 'node:path'
import { proxyUri } from '../core/certs/identity.ts'
import { readCertificate, toPem, type Certificate } from '../core/certs/x509-read.ts'
import { issueCertificate, type CertificateRequest } from '../core/certs/x509.ts'
import { caPin } from '../core/certs/signer.ts'
import { plus, systemClock, type Clock, type Instant } from '../core/clock.ts'
import { CA_KINDS } from '../core/domain/ca.ts'
import { resourceName } from '../core/domain/name.ts'
import type { CaBundle } from '../core/domain/policy.ts'
import { reasonOf } from '../core/errors.ts'
import type { ProxyId } from '../core/ids.ts'
import { publishedSigningKeys, type SigningKey } from '../core/join/azure/attested.ts'
import { publishedIidKeys, type RegionKey } from '../core/join/ec2.ts'
import { joinKeyOf } from '../core/join/sealed-call.ts'
import { LIMITS } from '../core/limits.ts'
import { silentLog, type Log } from '../core/log.ts'
import { parse } from '../core/parse.ts'
import { systemRandom, type Random } from '../core/random.ts'
import { createSealer, deriveKey } from '../core/seal.ts'
import { VERSION } from '../core/version.ts'
import { createApp } from './app.ts'
import {
  bootstrap,
  createDefaultRoles,
  type Bootstrapped,
  type BootstrapRequest,
} from './bootstrap.ts'
import { breakGlass, type BreakGlassRequest } from './break-glass.ts'
import type { AppDeps } from './deps.ts'
import { openLocalStores } from './local-store.ts'
import { createArmClient } from './join/arm.ts'
import { createTick } from './verbs/rotate.ts'
import { openLiveCas, firstState } from './ca/live.ts'
import { caKeyOf } from './ca/new-key.ts'
import { createStsClient, type StsAddress } from './join/sts.ts'
import { createIssuerKeys, type IssuerAccess } from './join/issuer-keys.ts'
import type { Downloads } from './install/downloads.ts'
import { clusterAround, createTokenReviewer, type KubernetesCluster } from './join/token-review.ts'
import { createPasswordHasher } from './login/password.ts'
import { createRateLimiter, type RateLimiter } from './middleware/rate-limit.ts'
import { fileKeyring, fileSecret, fileSigner } from './signers/file.ts'
import { privateDir } from './signers/private-dir.ts'
import { initialKeys, publicJwk } from './signers/public-cas.ts'
import type { Stores } from './store/stores.ts'

export type { Bootstrapped, BootstrapRequest } from './bootstrap.ts'

export interface LocalControlPlaneOptions {
  /** Private directory (0700, made when absent): `ca/` with the CA keys and, when `stores` is not given, `store/`. */
  readonly dataDir: string
  /** Stores opened by the caller, who then closes them; default: the embedded engine in `dataDir/store`. */
  readonly stores?: Stores | ((cursorKey: Uint8Array) => Stores)
  /** Name of the cluster at the very first start, default `postern.internal`; later starts keep the stored one. */
  readonly clusterName?: string
  /** Origins that clients sign requests for, the first being the API's address: `https://127.0.0.1:3080`. May change while it runs. */
  readonly publicOrigins: () => readonly string[]
  /** `host:port` of the proxies, as clients dial them. */
  readonly proxies: () => readonly string[]
  /** How issuers of id tokens are reached; default: public addresses only, verified by the public CAs. */
  readonly issuers?: IssuerAccess
  /** The agent's archives; default: none are served. */
  readonly downloads?: Downloads | undefined
  readonly clock?: Clock
  readonly random?: Random
  readonly log?: Log
  /** Default: one of its own. */
  readonly limiter?: RateLimiter
  /** The Kubernetes cluster that is asked about service account tokens; default: the one that this process runs in, if any. */
  readonly kubernetes?: KubernetesCluster
  /** For tests: CAs of a metadata service other than that of Azure. */
  readonly azure?: { readonly signingKeys: readonly SigningKey[] }
  /** For tests: an STS and a signer of identity documents other than those of AWS. */
  readonly aws?: { readonly sts?: StsAddress; readonly iidKeys?: readonly RegionKey[] }
}

export interface IssuedCertificate {
  readonly certificate: Certificate
  /** PEM, leaf only. */
  readonly pem: string
  /** The host CA that it chains to. */
  readonly caPem: string
  readonly expires: Instant
}

export interface LocalControlPlane {
  readonly cluster: string
  readonly stores: Stores
  /** Public halves of every CA that is trusted now, the one that signs first. */
  readonly caBundle: CaBundle
  /** Counts changes of the CAs. */
  readonly caVersion: number
  /** `sha256:…` of the host CA's key: what `ca_pin` holds. */
  readonly caPins: readonly string[]
  /** Calls `fn` after every change of the CAs: certificates of this machine are made anew. Returns the unsubscribe. */
  onCaChange(fn: () => void): () => void
  /** Moves automatic rotations that are due; done every LIMITS.caTick by itself. */
  tickRotations(): Promise<number>
  /** Answers a request that came from `ip`. Never rejects. */
  fetch(request: Request, peer: { readonly ip: string }): Promise<Response>
  /** Creates or updates the user and mints an operator key; repeatable as break-glass, audited each time. */
  bootstrap(request: BootstrapRequest): Promise<Bootstrapped>
  /** Takes away the locks that strike the user and restores the default roles among `roles`; audited. Then bootstrap works. */
  breakGlass(request: BreakGlassRequest): Promise<void>
  /** A certificate for a proxy of this machine: `spiffe://<cluster>/proxy/<id>`, client and server, 24 h. */
  issueProxyIdentity(proxyId: ProxyId, key: KeyObject): Promise<IssuedCertificate>
  /** The TLS certificate of the local listener, signed by the host CA, 24 h. Names no identity. */
  issueServerCertificate(request: {
    readonly key: KeyObject
    readonly dns: readonly string[]
    readonly ips: readonly string[]
  }): Promise<IssuedCertificate>
  close(): Promise<void>
}

/** The rows of the CAs: made at the first start, of the keys that are in the directory or of new ones. */
async function initCas(
  stores: Stores,
  dir: string,
  before: CaBundle | undefined,
  deps: { clock: Clock; random: Random },
): Promise<void> {
  const known = await stores.cas.states()
  const kept = before && initialKeys(before, deps.clock.now())
  for (const kind of CA_KINDS) {
    if (known.some((state) => state.kind === kind)) continue
    const signer = fileSigner(dir, kind, deps.random)
    const key = kept?.[kind]
    const first =
      key?.pin === caPin(signer.publicKey)
        ? { ...key, ref: kind }
        : await caKeyOf(kind, { ref: kind, signer }, deps)
    await stores.cas.init(firstState(kind, first))
  }
}

/** The cluster's row: made at the first start, together with its CAs and the roles a new cluster has. */
async function openCluster(
  stores: Stores,
  name: string,
  caDir: string,
  deps: { clock: Clock; random: Random },
): Promise<string> {
  const known = await stores.cluster.get()
  await initCas(stores, caDir, known?.cas, deps)
  if (known) return known.name
  await createDefaultRoles(stores.roles)
  const id = deps.random.bytes(16).toString('hex')
  const created = deps.clock.now()
  return (await stores.cluster.init({ id, name, created, cas: undefined })).name
}

export async function createLocalControlPlane(
  options: LocalControlPlaneOptions,
): Promise<LocalControlPlane> {
  const { dataDir, clock = systemClock, random = systemRandom, log = silentLog } = options
  const name = parse(resourceName, options.clusterName ?? 'postern.internal')
  privateDir(dataDir)
  const caDir = join(dataDir, 'ca')
  const secret = fileSecret(caDir, random)
  const keyring = fileKeyring(caDir, random)
  const cursorKey = deriveKey(secret, 'cursor')
  const given = typeof options.stores === 'function' ? options.stores(cursorKey) : options.stores
  const { stores, close } = given
    ? { stores: given, close: async () => {} }
    : await openLocalStores({
        path: join(dataDir, 'store'),
        cursorKey,
        clock,
        random,
        log,
      })
  const listeners = new Set<() => void>()
  const start = async () => ({
    cluster: await openCluster(stores, name, caDir, { clock, random }),
    cas: await openLiveCas({
      store: stores.cas,
      keyring,
      signs: CA_KINDS,
      clock,
      log,
      onChange: () => listeners.forEach((fn) => fn()),
    }),
  })
  const { cluster, cas } = await start().catch(async (error: unknown) => {
    await close()
    throw error
  })
  const deps: AppDeps = {
    cluster,
    version: VERSION,
    origins: options.publicOrigins,
    proxies: options.proxies,
    cas,
    keyring,
    clock,
    random,
    log,
    limiter: options.limiter ?? createRateLimiter(clock),
    stores,
    sts: createStsClient({ clock, ...(options.aws?.sts ? { at: options.aws.sts } : {}) }),
    iidKeys: () => options.aws?.iidKeys ?? publishedIidKeys(),
    issuerKeys: createIssuerKeys({ clock, log, ...options.issuers }),
    // Made by the first who asks for it.
    jwtKeys: async () => [publicJwk(fileSigner(caDir, 'jwt', random).publicKey)],
    reviewer: createTokenReviewer({
      clock,
      cluster: options.kubernetes ?? clusterAround(process.env),
    }),
    arm: createArmClient({ clock, at: options.issuers?.at }),
    azureSigningKeys: () => options.azure?.signingKeys ?? publishedSigningKeys(),
    hostCa: () => cas.authority('host'),
    userCa: () => cas.authority('user'),
    policySigner: () => cas.signer('policy'),
    challengeSealer: createSealer(deriveKey(secret, 'challenge'), random),
    joinKey: joinKeyOf(deriveKey(secret, 'join-key')),
    downloads: options.downloads,
    answerSealer: createSealer(deriveKey(secret, 'answer'), random),
    passwords: createPasswordHasher(random),
  }
  const app = createApp(deps)
  const tickRotations = createTick(deps)
  const ticking = clock.every(LIMITS.caTick.value, () => {
    tickRotations().catch((e: unknown) => log.warn('ca.tick_failed', { reason: reasonOf(e) }))
  })

  async function issueHost(
    request: Pick<CertificateRequest, 'subject' | 'publicKey' | 'usage' | 'uris' | 'dns' | 'ips'>,
  ): Promise<IssuedCertificate> {
    const now = clock.now()
    const issuer = cas.authority('host')
    const der = await issueCertificate(
      {
        ...request,
        issuer,
        notBefore: plus(now, -LIMITS.certBackdate.value),
        notAfter: plus(now, LIMITS.agentCertTtl.value),
      },
      random,
    )
    const certificate = readCertificate(der)
    const caPem = toPem(issuer.certificate.raw)
    return { certificate, pem: toPem(der), caPem, expires: certificate.notAfter }
  }

  return {
    cluster,
    stores,
    get caBundle() {
      return cas.now.bundle
    },
    get caVersion() {
      return cas.now.version
    },
    get caPins() {
      return cas.now.pins
    },
    onCaChange(fn) {
      listeners.add(fn)
      return () => void listeners.delete(fn)
    },
    tickRotations,
    fetch: async (request, peer) => app.fetch(request, { ip: peer.ip }),
    bootstrap: (request) => bootstrap({ clock, random, stores }, request),
    breakGlass: (request) => breakGlass({ clock, stores }, request),
    issueProxyIdentity: (proxyId, publicKey) =>
      issueHost({
        subject: proxyId,
        publicKey,
        uris: [proxyUri(cluster, proxyId)],
        usage: ['client', 'server'],
      }),
    issueServerCertificate: ({ key, dns, ips }) =>
      issueHost({ subject: 'Postern', publicKey: key, dns, ips, usage: ['server'] }),
    async close() {
      ticking.cancel()
      await close()
    },
  }
}
