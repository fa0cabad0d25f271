/**
 * The person who started `up`: an operator key made once, a user of the same name as the login, and short-lived
 * certificates in <data-dir>/profile that are renewed while it runs. The same key stays with them, so that an ssh that
 * starts during a renewal never meets a key and a certificate that do not belong together.
 */
import { createPrivateKey } from 'node:crypto'
import { userInfo } from 'node:os'
import { plus, fromSeconds, type Clock, type Instant } from '../../core/clock.ts'
import { userCertificates } from '../../core/api/login.ts'
import { generateKey, spki } from '../../core/certs/signer.ts'
import { isAppError } from '../../core/errors.ts'
import { parse } from '../../core/parse.ts'
import type { ApiClient } from '../../net/http-client.ts'
import { keySigner } from '../../core/certs/signer.ts'
import type { LocalControlPlane } from '../../functions/wiring.ts'
import { loadProfile, saveProfile, type StoredProfile } from '../connect/profile.ts'
import { knownHosts, sshConfigFile } from '../ssh-config.ts'
import type { Cli } from '../cli.ts'

export interface Owner {
  /** The name in the cluster. */
  readonly user: string
  /** The unix login that it grants. */
  readonly login: string
  readonly root: boolean
}

/** Who runs this, under a name that the cluster takes. */
export function ownerOf(fallback: string | undefined): Owner {
  let login: string
  try {
    login = userInfo().username
  } catch {
    // A uid without an entry in passwd, as containers have them.
    login = fallback ?? `uid-${process.getuid?.() ?? 0}`
  }
  const user = login.replaceAll(/[^A-Za-z0-9._@+-]/g, '-').replace(/^[^A-Za-z0-9]+/, '')
  return { user: user.slice(0, 128) || 'owner', login, root: process.getuid?.() === 0 }
}

const ROLES = ['access', 'editor', 'auditor'] as const

/** What the profile holds already; undefined when there is none or it is broken: then it is made again. */
async function stored(dir: string): Promise<StoredProfile | undefined> {
  return loadProfile(dir).catch((e: unknown) => {
    if (isAppError(e) && e.code === 'ERR_PROFILE_MISSING') return undefined
    throw e
  })
}

/** The operator key of an earlier start, or a new one together with the user. */
export async function operatorKey(deps: {
  readonly plane: LocalControlPlane
  readonly profileDir: string
  readonly owner: Owner
  /** Is this key still good? */
  works(key: string): Promise<boolean>
}): Promise<{ readonly key: string; readonly fresh: boolean }> {
  const known = (await stored(deps.profileDir))?.operatorKey
  if (known !== undefined && (await deps.works(known))) return { key: known, fresh: false }
  const { operatorKey: key } = await deps.plane.bootstrap({
    user: deps.owner.user,
    roles: ROLES,
    traits: { logins: [deps.owner.login] },
  })
  return { key, fresh: true }
}

export interface OwnerProfileDeps {
  readonly cli: Cli
  readonly clock: Clock
  readonly plane: LocalControlPlane
  readonly api: ApiClient
  readonly apiOrigin: string
  readonly proxies: () => readonly string[]
  readonly profileDir: string
  readonly owner: Owner
  readonly operatorKey: string
}
export interface OwnerProfile {
  readonly sshConfig: string
  /** New certificates when half of the life of the old has passed. */
  renew(): Promise<void>
}

export async function ownerProfile(deps: OwnerProfileDeps): Promise<OwnerProfile> {
  const { plane, clock, cli } = deps
  const old = await stored(deps.profileDir)
  const keyPem =
    old?.keyPem ?? generateKey().privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const publicKey = spki(keySigner(createPrivateKey(keyPem)).publicKey).toString('base64url')
  const sshConfig = sshConfigFile({
    cluster: plane.cluster,
    profileDir: deps.profileDir,
    self: cli.self,
  })

  async function issue(): Promise<Instant> {
    const now = clock.now()
    const answer = parse(
      userCertificates,
      await deps.api.request('POST', '/v1/certs', { public_key: publicKey, user: deps.owner.user }),
      { code: 'ERR_INTERNAL' },
    )
    const expires = fromSeconds(answer.expires)
    await saveProfile(deps.profileDir, {
      cluster: plane.cluster,
      api: deps.apiOrigin,
      proxies: deps.proxies(),
      user: deps.owner.user,
      caPins: plane.caPins,
      expires,
      hostCas: plane.caBundle.host.x509,
      keyPem,
      certificatePem: answer.x509,
      sshCertificate: answer.ssh,
      knownHosts: knownHosts(plane.cluster, plane.caBundle.host.ssh),
      sshConfig,
      policyKeys: plane.caBundle.policy,
      operatorKey: deps.operatorKey,
    })
    return plus(now, (expires - now) / 2)
  }
  // At every start: the address may have changed, and roles as well.
  let renewAt = await issue()
  return {
    sshConfig,
    async renew() {
      if (clock.now() >= renewAt) renewAt = await issue()
    },
  }
}
