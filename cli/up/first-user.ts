/**
 * The person who started `up`: an operator key made once, a user of the same name as the login, and short-lived
 * certificates in <data-dir>/profile that are renewed while it runs. The same key stays with them, so that an ssh that
 * starts during a renewal never meets a key and a certificate that do not belong together.
 */
import { createPublicKey } from 'node:crypto'
import { userInfo } from 'node:os'
import path from 'node:path'
import { fromSeconds, plus, type Instant } from '../../core/clock.ts'
import { userCertificates } from '../../core/api/login.ts'
import { generateKey, spki } from '../../core/certs/signer.ts'
import { isAppError, type AppError } from '../../core/errors.ts'
import { parse } from '../../core/parse.ts'
import type { ApiClient } from '../../net/http-client.ts'
import { writeAtomic } from '../../agent/identity/files.ts'
import { loadProfile, saveProfile, type StoredProfile } from '../connect/profile.ts'
import { knownHosts, sshConfigFile } from '../ssh-config.ts'
import type { Cli } from '../cli.ts'
import type { LocalControlPlane } from '../../functions/wiring.ts'

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

/** Is this operator key still known? A store that was deleted knows it no more. That of a locked owner it knows. */
async function known(api: ApiClient): Promise<boolean> {
  try {
    await api.request('GET', '/v1/whoami')
    return true
  } catch (e) {
    if (isAppError(e) && e.code === 'ERR_LOCKED') return true
    if (isAppError(e) && e.kind.exitCode === 3) return false
    throw e
  } finally {
    api.close()
  }
}

/** The owner is locked, or the roles were changed so that they do not let the owner operate any more. */
const isRefusal = (e: unknown): e is AppError =>
  isAppError(e) && (e.code === 'ERR_LOCKED' || e.code === 'ERR_FORBIDDEN')

/** What it takes to sign in: the control plane in this process, and how it is reached. */
export interface OwnersCluster {
  readonly plane: LocalControlPlane
  /** Kept in the profile. */
  readonly origin: string
  /** A client that calls as whoever holds this key. */
  client(bearer: string): ApiClient
  /** `host:port` each; may change. */
  proxies(): readonly string[]
}

export interface SignedInOwner {
  readonly owner: Owner
  /** Calls as the operator. */
  readonly api: ApiClient
  /** The operator key, when it was made just now. */
  readonly newKey: string | undefined
  /** Why the owner could not sign in: the cluster serves everybody else all the same. */
  readonly refused: AppError | undefined
  /** New certificates when half of the life of the old has passed, or when there are other proxies. */
  renew(): Promise<void>
}

export async function signInOwner(deps: {
  readonly cli: Cli
  readonly cluster: OwnersCluster
  readonly dataDir: string
  /** Take away first what keeps the owner out. */
  readonly breakGlass?: boolean
}): Promise<SignedInOwner> {
  const { cli, cluster } = deps
  const { plane, origin } = cluster
  const { clock, random } = cli
  const owner = ownerOf(cli.env.user)
  const dir = path.join(deps.dataDir, 'profile')
  const old = await stored(dir)
  const client = (bearer: string) => cluster.client(bearer)

  if (deps.breakGlass) await plane.breakGlass({ user: owner.user, roles: ROLES })
  const kept = old?.operatorKey
  const fresh = deps.breakGlass || kept === undefined || !(await known(client(kept)))
  const operatorKey = fresh
    ? (
        await plane.bootstrap({
          user: owner.user,
          roles: ROLES,
          traits: { logins: [owner.login] },
        })
      ).operatorKey
    : kept
  const api = client(operatorKey)

  const keyPem =
    old?.keyPem ?? generateKey().privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const publicKey = spki(createPublicKey(keyPem)).toString('base64url')
  const sshConfig = sshConfigFile({ cluster: plane.cluster, profileDir: dir, self: cli.self })

  const file = (name: string, content: string) =>
    writeAtomic(path.join(deps.dataDir, name), content, random)
  /** What else than time makes a profile old: other addresses, other CAs. */
  const shape = (): string => JSON.stringify([cluster.proxies(), plane.caBundle])
  let written = ''
  async function issue(): Promise<Instant> {
    const now = clock.now()
    const proxies = cluster.proxies()
    const answer = parse(
      userCertificates,
      await api.request('POST', '/v1/certs', { public_key: publicKey, user: owner.user }),
      { code: 'ERR_INTERNAL' },
    )
    const expires = fromSeconds(answer.expires)
    written = shape()
    const { host } = plane.caBundle
    await saveProfile(dir, {
      cluster: plane.cluster,
      api: origin,
      proxies,
      user: owner.user,
      caPins: plane.caPins,
      expires,
      hostCas: host.x509,
      keyPem,
      certificatePem: answer.x509,
      sshCertificate: answer.ssh,
      knownHosts: knownHosts(plane.cluster, host.ssh),
      sshConfig,
      policyKeys: plane.caBundle.policy,
      caVersion: plane.caVersion,
      operatorKey,
    })
    await file('ca.pem', host.x509.join(''))
    return plus(now, (expires - now) / 2)
  }

  // At every start: the address may have changed, and roles as well. Who is locked is tried again at each renewal.
  let renewAt = clock.now()
  let refused: AppError | undefined
  try {
    renewAt = await issue()
  } catch (e) {
    // Without the files of an earlier start there is nothing that could go on.
    if (!isRefusal(e) || !old) throw e
    refused = e
  }
  await file('ssh_config', sshConfig)
  // With the content type, so that the curl of the screen stays one short line.
  const header = `authorization: Bearer ${operatorKey}\ncontent-type: application/json\n`
  await file('operator.header', header)
  return {
    owner,
    api,
    newKey: fresh ? operatorKey : undefined,
    refused,
    async renew() {
      if (clock.now() >= renewAt || shape() !== written) renewAt = await issue()
    },
  }
}
