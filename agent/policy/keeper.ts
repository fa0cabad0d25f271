/**
 * The agent's live policy (protocols.md 6): verified by the policy key that joining gave, never replaced by an older one, kept
 * on disk so that a restart cannot be used to go back. Only a document that the present key signed can change that key.
 */
import type { KeyObject } from 'node:crypto'
import { join } from 'node:path'
import * as z from 'zod'
import { decide, type Decision, type Want } from '../../core/access/decide.ts'
import { readCertificate, type Certificate } from '../../core/certs/x509-read.ts'
import { fromSeconds, type Clock, type Instant } from '../../core/clock.ts'
import type { Policy } from '../../core/domain/policy.ts'
import type { Role } from '../../core/domain/role.ts'
import { AppError, reasonOf } from '../../core/errors.ts'
import type { AgentId } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Log } from '../../core/log.ts'
import type { Random } from '../../core/random.ts'
import { readPrivate, writeAtomic } from '../identity/files.ts'
import type { PolicyView, UserIdentity } from '../services/service.ts'
import { openSigned, POLICY_TOKEN_MAX, policyKey } from './document.ts'

/** What joining tells, and what nothing but a signed document changes afterwards. */
export interface PolicyAnchor {
  readonly cluster: string
  readonly agentId: AgentId
  /** JWKs. */
  readonly keys: readonly Readonly<Record<string, unknown>>[]
}

/** new: it is in force now · same: known already · old: refused, a newer one is known · newer: a stamp for a version we lack. */
export type Taken = 'new' | 'same' | 'old' | 'newer'

export interface PolicyKeeper {
  readonly view: PolicyView
  /** Reads what the last run kept. Later calls of `anchor` do not replace the keys found there. */
  load(): Promise<void>
  anchor(anchor: PolicyAnchor): Promise<void>
  /** Takes a token of the policy key: a document or a freshness stamp. Rejects with ERR_PROOF_INVALID. */
  take(token: string): Promise<Taken>
  /** 0 when there is none. */
  readonly version: number
  /** Milliseconds since the newest proof that the policy in force is the newest. Infinity when there is none. */
  age(): number
  /** Keys that routes are signed by. */
  keys(): readonly KeyObject[]
  userCas(): readonly Certificate[]
  /** Has live sessions decided again for another reason than a new policy: labels or apps changed. */
  recheck(): void
  /** Resolves when everything taken so far is on disk. */
  saved(): Promise<void>
}

interface InForce {
  readonly policy: Policy
  readonly digest: string
  readonly roles: ReadonlyMap<string, Role>
  readonly userCas: readonly Certificate[]
  readonly sshBlobs: readonly Buffer[]
  /** Newest moment at which it was known to be the newest. */
  readonly confirmed: Instant
}

const stored = z.object({
  v: z.literal(1),
  cluster: z.string(),
  version: z.int(),
  policy: z.string(),
  keys: z.array(z.record(z.string(), z.unknown())).min(1),
})

const blobOf = (line: string): Buffer => Buffer.from(line.split(' ')[1] ?? '', 'base64')

export interface PolicyKeeperOptions {
  readonly dataDir: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

export function createPolicyKeeper(options: PolicyKeeperOptions): PolicyKeeper {
  const { dataDir, clock, random, log } = options
  const path = join(dataDir, 'policy.json')
  const listeners = new Set<() => void>()
  let cluster: string | undefined
  let agentId: AgentId | undefined
  let jwks: PolicyAnchor['keys'] = []
  let keys: readonly KeyObject[] = []
  let current: InForce | undefined
  /** The highest version ever seen, on disk as well. */
  let highest = 0
  let writing: Promise<void> = Promise.resolve()
  /** Tokens are taken one after the other, so that two at once cannot both be "the newest". */
  let taking: Promise<unknown> = Promise.resolve()

  const setKeys = (given: PolicyAnchor['keys']): void => {
    keys = given.map(policyKey)
    jwks = given
  }

  function put(policy: Policy, digest: string): void {
    current = {
      policy,
      digest,
      roles: new Map(policy.roles.map((role) => [role.name, role])),
      userCas: policy.cas.user.x509.map((pem) => readCertificate(pem)),
      sshBlobs: policy.cas.user.ssh.map(blobOf),
      confirmed: fromSeconds(policy.issued),
    }
    highest = policy.version
    setKeys(policy.cas.policy.map((key) => ({ ...key })))
  }

  function save(token: string): void {
    const file = { v: 1, cluster, version: highest, policy: token, keys: jwks }
    writing = writing
      .then(() => writeAtomic(path, JSON.stringify(file), random))
      .catch((e: unknown) => log.error('policy.not_saved', { reason: reasonOf(e) }))
  }

  const notify = (): void => {
    for (const fn of listeners)
      try {
        fn()
      } catch (e) {
        log.error('policy.listener_failed', { reason: reasonOf(e) })
      }
  }

  const refuse = (internal: string): AppError =>
    new AppError('ERR_PROOF_INVALID', undefined, { internal: `policy: ${internal}` })

  async function takeOne(token: string): Promise<Taken> {
    if (keys.length === 0) throw refuse('no key to check it with: not joined yet')
    const signed = await openSigned(token, keys)
    if (signed.kind === 'freshness') {
      const { stamp } = signed
      if (stamp.cluster !== cluster) throw refuse('stamp of another cluster')
      if (stamp.version > highest || !current) return 'newer'
      if (stamp.version < highest) return 'old'
      if (stamp.digest !== current.digest) throw refuse('two documents of one version')
      const issued = fromSeconds(stamp.issued)
      if (issued <= current.confirmed) return 'same'
      current = { ...current, confirmed: issued }
      return 'new'
    }
    const { policy, digest } = signed
    if (policy.cluster !== cluster) throw refuse('document of another cluster')
    if (policy.version < highest) {
      log.warn('policy.older_refused', { version: policy.version, known: highest })
      return 'old'
    }
    if (policy.version === highest && current) {
      if (digest !== current.digest) throw refuse('two documents of one version')
      return 'same'
    }
    if (fromSeconds(policy.expires) <= clock.now()) throw refuse('document has expired')
    put(policy, digest)
    save(token)
    log.info('policy.updated', { version: policy.version })
    notify()
    return 'new'
  }

  const age = (): number =>
    current ? Math.max(0, clock.now() - current.confirmed) : Number.POSITIVE_INFINITY

  function decideNow(identity: UserIdentity, want: Want): Decision {
    const refused = (why: string): Decision => ({ allow: false, reason: 'no role in force', why })
    if (!current || agentId === undefined) return refused('no policy is known yet')
    if (identity.cluster !== cluster) return refused('the user belongs to another cluster')
    const { policy, roles } = current
    return decide({
      user: identity.user,
      traits: identity.traits,
      certificateRoles: identity.roles,
      certificateExpires: identity.expires,
      currentRoles: Object.hasOwn(policy.users, identity.user)
        ? (policy.users[identity.user] ?? [])
        : [],
      roles,
      locks: policy.locks,
      agentId,
      want,
      now: clock.now(),
      viewAge: age(),
      strictAge: LIMITS.policyStrict.value,
    })
  }

  return {
    view: {
      decide: decideNow,
      onChange(fn) {
        listeners.add(fn)
        return () => void listeners.delete(fn)
      },
      userCas: () => ({
        sshBlobs: current?.sshBlobs ?? [],
        x509Pems: current?.policy.cas.user.x509 ?? [],
      }),
    },

    async load() {
      const text = await readPrivate(path, 2 * POLICY_TOKEN_MAX)
      if (text === undefined) return
      try {
        const file = stored.parse(JSON.parse(text))
        setKeys(file.keys)
        cluster = file.cluster
        highest = file.version
        const signed = await openSigned(file.policy, keys)
        if (signed.kind === 'policy' && signed.policy.version === file.version)
          put(signed.policy, signed.digest)
      } catch (e) {
        log.error('policy.file_unreadable', { path, reason: reasonOf(e) })
      }
    },

    async anchor(given) {
      agentId = given.agentId
      if (cluster !== undefined && cluster !== given.cluster)
        throw new AppError(
          'ERR_CONFIG_INVALID',
          `data_dir holds an agent of cluster ${cluster}, not of ${given.cluster}`,
        )
      cluster = given.cluster
      if (keys.length === 0) setKeys(given.keys)
    },

    take(token) {
      const result = taking.then(() => takeOne(token))
      taking = result.catch(() => undefined)
      return result
    },

    get version() {
      return current?.policy.version ?? 0
    },
    age,
    keys: () => keys,
    userCas: () => current?.userCas ?? [],
    recheck: notify,
    saved: () => writing,
  }
}
