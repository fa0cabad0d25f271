/**
 * The agent's live policy (protocols.md 6): verified by the policy key that joining gave, never replaced by an older one, kept
 * on disk so that a restart cannot be used to go back. Only a document that the present key signed can change that key.
 */
import type { KeyObject } from 'node:crypto'
import { join } from 'node:path'
import * as z from 'zod'
import { decide, type Decision, type Want } from '../../core/access/decide.ts'
import { walkLinks } from '../../core/certs/policy-key-link.ts'
import { openSignedCas } from '../../core/certs/signed-cas.ts'
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
import type { UserIdentity } from '../services/service.ts'
import { openSigned, POLICY_TOKEN_MAX, policyKey } from './document.ts'
import type { PolicyAnchor, PolicyKeeper, Taken } from './policy-keeper.ts'
import { trustedCas, type TrustedCas } from './trusted-cas.ts'

export type { PolicyAnchor, PolicyKeeper } from './policy-keeper.ts'

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
  policy: z.string().optional(),
  keys: z.array(z.record(z.string(), z.unknown())).min(1),
  /** The signed CAs, when they are newer than the policy. */
  cas: z.string().optional(),
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
  const casListeners = new Set<() => void>()
  let cas: TrustedCas | undefined
  /** As they lie on disk. */
  let kept: { policy?: string; cas?: string } = {}
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
    if ((policy.caVersion ?? 0) < (cas?.version ?? 0)) return
    setKeys(policy.cas.policy.map((key) => ({ ...key })))
    putCas(trustedCas(policy))
  }

  function putCas(next: TrustedCas): void {
    const same = cas?.x509.join() === next.x509.join()
    cas = next
    if (!same) notify(casListeners)
  }

  function save(change: typeof kept): void {
    kept = { ...kept, ...change }
    const file = { v: 1, cluster, version: highest, ...kept, keys: jwks }
    writing = writing
      .then(() => writeAtomic(path, JSON.stringify(file), random))
      .catch((e: unknown) => log.error('policy.not_saved', { reason: reasonOf(e) }))
  }

  const notify = (whom: ReadonlySet<() => void> = listeners): void => {
    for (const fn of whom)
      try {
        fn()
      } catch (e) {
        log.error('policy.listener_failed', { reason: reasonOf(e) })
      }
  }

  const refuse = (internal: string): AppError =>
    new AppError('ERR_PROOF_INVALID', undefined, { internal: `policy: ${internal}` })

  async function takeOne(token: string, links: readonly string[]): Promise<Taken> {
    if (keys.length === 0 || cluster === undefined)
      throw refuse('no key to check it with: not joined yet')
    const signed = await openSigned(token, await walkLinks(keys, links, cluster))
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
    save({ policy: token })
    log.info('policy.updated', { version: policy.version })
    notify()
    return 'new'
  }

  async function takeCasOne(jws: string, links: readonly string[]): Promise<void> {
    if (keys.length === 0 || cluster === undefined)
      throw refuse('no key to check the CAs with: not joined yet')
    const version = cas?.version ?? 0
    const now = clock.now()
    const next = await openSignedCas(jws, { keys, links, cluster, version, now })
    if (next.version === version) return
    setKeys(next.cas.policy)
    putCas(trustedCas({ ...next, caVersion: next.version }))
    save({ cas: jws })
    log.info('ca.learnt', { version: next.version, from: version })
  }

  const age = (): number =>
    current ? Math.max(0, clock.now() - current.confirmed) : Number.POSITIVE_INFINITY

  /** They were verified when they were written, and may have run out since: what they say of retired CAs does not. */
  async function loadCas(jws: string | undefined): Promise<void> {
    if (jws === undefined || cluster === undefined) return
    const now = fromSeconds(0)
    const next = await openSignedCas(jws, { keys, links: [], cluster, version: 0, now })
    putCas(trustedCas({ ...next, caVersion: next.version }))
  }

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
        kept = {
          ...(file.policy === undefined ? {} : { policy: file.policy }),
          ...(file.cas === undefined ? {} : { cas: file.cas }),
        }
        await loadCas(file.cas)
        if (file.policy === undefined) return
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

    take(token, links = []) {
      const result = taking.then(() => takeOne(token, links))
      taking = result.catch(() => undefined)
      return result
    },

    takeCas({ jws, links }) {
      const result = taking.then(() => takeCasOne(jws, links))
      taking = result.catch(() => undefined)
      return result
    },

    get cas() {
      return cas
    },
    onCas(fn) {
      casListeners.add(fn)
      return () => void casListeners.delete(fn)
    },

    get version() {
      return current?.policy.version ?? 0
    },
    age,
    keys: () => keys,
    userCas: () => current?.userCas ?? [],
    recheck: () => notify(),
    saved: () => writing,
  }
}
