/**
 * The control plane of one machine: the same app as in the cloud over the embedded store, CA keys in files. `postern up` and
 * the tests start it here; nothing else differs from a deployment.
 */
import type { KeyObject } from 'node:crypto'
import type { Clock, Instant } from '../core/clock.ts'
import type { CaBundle } from '../core/domain/policy.ts'
import type { Traits } from '../core/domain/user.ts'
import type { KeyId, ProxyId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import type { Random } from '../core/random.ts'
import type { Certificate } from '../core/certs/x509-read.ts'
import type { Stores } from './store/stores.ts'

export interface LocalControlPlaneOptions {
  /** Private directory (0700, made when absent): `ca/` with the CA keys and, when `stores` is not given, `store/`. */
  readonly dataDir: string
  /** Stores opened by the caller, who then closes them; default: the embedded engine in `dataDir/store`. */
  readonly stores?: Stores
  /** Name of the cluster at the very first start, default `postern.internal`; later starts keep the stored one. */
  readonly clusterName?: string
  /** Origins that clients sign requests for, the first being the API's address: `https://127.0.0.1:3080`. May change while it runs. */
  readonly publicOrigins: () => readonly string[]
  /** `host:port` of the proxies, as clients dial them. */
  readonly proxies: () => readonly string[]
  readonly clock?: Clock
  readonly random?: Random
  readonly log?: Log
}

export interface IssuedCertificate {
  readonly certificate: Certificate
  /** PEM, leaf only. */
  readonly pem: string
  /** The host CA that it chains to. */
  readonly caPem: string
  readonly expires: Instant
}

export interface BootstrapRequest {
  readonly user: string
  readonly roles: readonly string[]
  readonly traits?: Traits
}
export interface Bootstrapped {
  /** `pst_key_…`, shown once and stored only as a hash. May do everything. */
  readonly operatorKey: string
  readonly keyId: KeyId
}

export interface LocalControlPlane {
  readonly cluster: string
  readonly stores: Stores
  /** Public halves of every CA. */
  readonly caBundle: CaBundle
  /** `sha256:…` of the host CA's key: what `ca_pin` holds. */
  readonly caPins: readonly string[]
  /** Answers a request that came from `ip`. Never rejects. */
  fetch(request: Request, peer: { readonly ip: string }): Promise<Response>
  /** Creates or updates the user and mints an operator key; repeatable as break-glass, audited each time. */
  bootstrap(request: BootstrapRequest): Promise<Bootstrapped>
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

export declare function createLocalControlPlane(
  options: LocalControlPlaneOptions,
): Promise<LocalControlPlane>
