/**
 * What each verb of the control plane is given: exactly what it needs, so that a flaw in one is worth only that one. The join
 * verb never sees the user CA's signer, the api verb sees no signer at all.
 */
import type { KeyObject } from 'node:crypto'
import type { Identity } from '../core/certs/identity.ts'
import type { Certificate } from '../core/certs/x509-read.ts'
import type { Signer } from '../core/certs/signer.ts'
import type { Clock } from '../core/clock.ts'
import type { CaBundle, JsonWebKeyLike } from '../core/domain/policy.ts'
import type { IssuerKeys } from '../core/join/oidc/jwks.ts'
import type { MethodDeps } from '../core/join/methods.ts'
import type { Log } from '../core/log.ts'
import type { Random } from '../core/random.ts'
import type { Sealer } from '../core/seal.ts'
import type { CaKeyMaker } from './ca/keyring.ts'
import type { LiveCas } from './ca/live.ts'
import type { Downloads } from './install/downloads.ts'
import type { PasswordHasher } from './login/password.ts'
import type { RateLimiter } from './middleware/rate-limit.ts'
import type { Stores } from './store/stores.ts'

/** The public halves of every CA that is trusted, parsed once. In each list the one that signs comes first. */
export interface PublicCas {
  readonly bundle: CaBundle
  /** Counts changes. */
  readonly version: number
  readonly host: readonly Certificate[]
  readonly user: readonly Certificate[]
  /** `sha256:…` of each host CA's key. */
  readonly pins: readonly string[]
  /** Those of host CA keys that are trusted no more. */
  readonly retired: readonly string[]
}

/** A CA that can sign: its certificate and the one who holds its key. */
export interface Authority {
  readonly certificate: Certificate
  readonly signer: Signer
}

/** What every verb has. */
export interface BaseDeps {
  /** Name of the cluster: in certificates, and the audience of everything signed. */
  readonly cluster: string
  readonly version: string
  /** Origins that requests may have been signed for; the first is the API's public address. */
  readonly origins: () => readonly string[]
  /** `host:port` of the proxies. */
  readonly proxies: () => readonly string[]
  readonly cas: LiveCas
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly limiter: RateLimiter
}

/** What it takes to know who calls. */
export interface CallerDeps extends BaseDeps {
  readonly stores: Pick<Stores, 'apiKeys' | 'users' | 'roles' | 'locks' | 'agents' | 'replay'> &
    Partial<Pick<Stores, 'connectors' | 'events'>>
  /** Of the verb that takes id tokens. */
  readonly issuerKeys?: IssuerKeys | undefined
  /** Kinds of identity that are served; others are refused before anything is read about them. Undefined: all. */
  readonly serves?: readonly Identity['kind'][]
}

/** Public halves of the keys that JWTs of this cluster are signed with, newest first; none where it signs none. */
type JwtKeys = () => Promise<readonly JsonWebKeyLike[]>
export interface SpiffeDeps extends BaseDeps {
  readonly jwtKeys: JwtKeys
}

export interface ApiDeps extends CallerDeps {
  readonly passwords: Pick<PasswordHasher, 'hash'>
  /** Seals the answers that Idempotency-Key keeps, because a minted secret may be among them. */
  readonly answerSealer: Sealer
  /** The agent's archives, and where they are; undefined: none are served here. */
  readonly downloads?: Downloads | undefined
  readonly issuerKeys: IssuerKeys
  readonly jwtKeys: JwtKeys
  readonly stores: CallerDeps['stores'] &
    Pick<Stores, 'tokens' | 'resources' | 'presence' | 'connectors' | 'events' | 'idempotency'> & {
      readonly cas: Pick<Stores['cas'], 'signed'>
    }
}

export interface JoinDeps
  extends
    BaseDeps,
    Pick<MethodDeps, 'sts' | 'iidKeys' | 'issuerKeys' | 'arm' | 'azureSigningKeys' | 'reviewer'> {
  /** The one that signs now. */
  readonly hostCa: () => Authority
  readonly challengeSealer: Sealer
  /** X25519; sealed joins are opened with it (core/join/sealed-call). */
  readonly joinKey: KeyObject
  readonly stores: Pick<
    Stores,
    'tokens' | 'joins' | 'boundKeypairs' | 'agents' | 'locks' | 'events'
  >
}

export interface LoginDeps extends CallerDeps {
  /** The one that signs now. */
  readonly userCa: () => Authority
  readonly passwords: Pick<PasswordHasher, 'verify'>
  readonly stores: CallerDeps['stores'] & Pick<Stores, 'events'>
}

export interface PolicyDeps extends CallerDeps {
  /** Signs the policy, its freshness stamps and routes. */
  readonly policySigner: () => Signer
  readonly stores: CallerDeps['stores'] & Pick<Stores, 'policy' | 'resources' | 'presence' | 'cas'>
}

export interface RotateDeps extends CallerDeps {
  readonly keyring: CaKeyMaker
  readonly stores: CallerDeps['stores'] & Pick<Stores, 'cas' | 'events'>
}

/** Everything, for one process that runs all verbs. */
export interface AppDeps
  extends
    Omit<ApiDeps, 'stores' | 'passwords'>,
    Omit<JoinDeps, 'stores'>,
    Omit<LoginDeps, 'stores' | 'passwords' | 'issuerKeys'>,
    Omit<PolicyDeps, 'stores' | 'issuerKeys'>,
    Omit<RotateDeps, 'stores' | 'issuerKeys'> {
  readonly passwords: PasswordHasher
  readonly stores: Stores
}
