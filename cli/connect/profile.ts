/**
 * The profile: one directory (0700) with everything a user's side needs to reach one cluster. Written by `postern login` and
 * `postern up`, read by ssh itself (key, certificate, known hosts, configuration) and by the connecting commands.
 *
 *   profile.json     { v, cluster, api, proxies, user, ca_pins, ca_version, expires }
 *   ca.pem           host CA(s), X.509; what agents and proxies are verified against
 *   key.pem          the user's P-256 private key, 0600, in a form that OpenSSH and Node both read
 *   user-x509.pem    the user's certificate
 *   key.pem-cert.pub the user's SSH certificate, where OpenSSH looks for it
 *   known_hosts      @cert-authority lines for *.<cluster>
 *   ssh_config       what `ssh -F` takes
 *   policy-keys.json public keys that sign routes
 *   operator.key     optional API key, 0600
 *   routes/          cached routes, 0600
 */
import { createPrivateKey } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { keySigner, type Signer } from '../../core/certs/signer.ts'
import { readCertificate, type Certificate } from '../../core/certs/x509-read.ts'
import { instant, type Instant } from '../../core/clock.ts'
import type { JsonWebKeyLike } from '../../core/domain/policy.ts'
import { AppError } from '../../core/errors.ts'
import { checkPrivate, makePrivate, readText, replaceFile, syncDirectory } from './profile-files.ts'

export interface Profile {
  readonly cluster: string
  /** Origin of the API. */
  readonly api: string
  /** `host:port` of each proxy; a cluster may have none yet. */
  readonly proxies: readonly string[]
  readonly user: string
  readonly caPins: readonly string[]
  /** End of the certificates. */
  readonly expires: Instant
  /** PEM, one certificate each. */
  readonly hostCas: readonly string[]
  /** PKCS #8 PEM, which OpenSSH and Node both read. */
  readonly keyPem: string
  readonly certificatePem: string
  /** `type base64 comment`. */
  readonly sshCertificate: string
  readonly knownHosts: string
  readonly sshConfig: string
  readonly policyKeys: readonly JsonWebKeyLike[]
  /** Counts changes of the CAs; 0 when it is not known. */
  readonly caVersion?: number | undefined
  readonly operatorKey?: string | undefined
}

/** A profile that lies in a directory. */
export interface StoredProfile extends Profile {
  readonly dir: string
  readonly caVersion: number
}

/** What a rotation changes. */
export interface ProfileCas extends Pick<Profile, 'hostCas' | 'knownHosts' | 'policyKeys'> {
  readonly caVersion: number
}

const FILES = {
  hostCas: 'ca.pem',
  keyPem: 'key.pem',
  certificatePem: 'user-x509.pem',
  sshCertificate: 'key.pem-cert.pub',
  knownHosts: 'known_hosts',
  sshConfig: 'ssh_config',
  policyKeys: 'policy-keys.json',
} as const
const MANIFEST = 'profile.json'
const OPERATOR_KEY = 'operator.key'
export const ROUTES = 'routes'

const incomplete = (dir: string, what: string, cause?: unknown): AppError =>
  new AppError(
    'ERR_PROFILE_MISSING',
    `the profile in ${dir} is not whole (${what}); log in again`,
    {
      cause,
    },
  )

interface Manifest {
  readonly cluster: string
  readonly api: string
  readonly proxies: readonly string[]
  readonly user: string
  readonly caPins: readonly string[]
  readonly expires: Instant
  readonly caVersion: number
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''
const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(isText)

/** By hand and not with a schema: this runs at the start of every ssh. */
function readManifest(dir: string, text: string): Manifest {
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch (cause) {
    throw incomplete(dir, MANIFEST, cause)
  }
  const m = (typeof raw === 'object' && raw !== null ? raw : {}) as Record<string, unknown>
  const { v, cluster, api, proxies, user, ca_pins: caPins, ca_version: version, expires } = m
  const whole =
    v === 1 && isText(cluster) && isText(api) && isTexts(proxies) && isText(user) && isTexts(caPins)
  if (!whole || typeof expires !== 'number') throw incomplete(dir, MANIFEST)
  const caVersion = typeof version === 'number' ? version : 0
  return { cluster, api, proxies, user, caPins, caVersion, expires: instant(expires) }
}

const splitPem = (text: string): string[] =>
  text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----\n?/g) ?? []

/**
 * Throws ERR_PROFILE_MISSING when there is none or it is not whole, ERR_DATA_DIR_UNSAFE when others could have written or
 * read it. An expired profile is returned: the caller knows what to say.
 */
export async function loadProfile(dir: string): Promise<StoredProfile> {
  await checkPrivate(dir)
  const need = async (name: string): Promise<string> => {
    const text = await readText(join(dir, name))
    if (text === undefined) throw incomplete(dir, name)
    return text
  }
  const [manifest, hostCas, keyPem, certificatePem, sshCertificate, knownHosts, sshConfig, keys] =
    await Promise.all([
      need(MANIFEST),
      need(FILES.hostCas),
      need(FILES.keyPem),
      need(FILES.certificatePem),
      need(FILES.sshCertificate),
      need(FILES.knownHosts),
      need(FILES.sshConfig),
      need(FILES.policyKeys),
    ])
  const operatorKey = (await readText(join(dir, OPERATOR_KEY)))?.trim()
  const profile: StoredProfile = {
    ...readManifest(dir, manifest),
    dir,
    hostCas: splitPem(hostCas),
    keyPem,
    certificatePem,
    sshCertificate: sshCertificate.trim(),
    knownHosts,
    sshConfig,
    policyKeys: readPolicyKeys(dir, keys),
    ...(operatorKey === undefined ? {} : { operatorKey }),
  }
  credentialOf(profile)
  return profile
}

function readPolicyKeys(dir: string, text: string): JsonWebKeyLike[] {
  try {
    const keys: unknown = JSON.parse(text)
    if (Array.isArray(keys)) return keys as JsonWebKeyLike[]
  } catch (cause) {
    throw incomplete(dir, FILES.policyKeys, cause)
  }
  throw incomplete(dir, FILES.policyKeys)
}

/** Replaces each file atomically, profile.json last. Makes the directory. Keeps operator.key when none is given. */
export async function saveProfile(dir: string, profile: Profile): Promise<StoredProfile> {
  await makePrivate(dir)
  const caVersion = profile.caVersion ?? 0
  await replaceFile(dir, FILES.hostCas, profile.hostCas.join(''))
  await replaceFile(dir, FILES.policyKeys, JSON.stringify(profile.policyKeys))
  await replaceFile(dir, FILES.knownHosts, profile.knownHosts)
  await replaceFile(dir, FILES.sshConfig, profile.sshConfig)
  await replaceFile(dir, FILES.keyPem, profile.keyPem)
  await replaceFile(dir, FILES.certificatePem, profile.certificatePem)
  await replaceFile(dir, FILES.sshCertificate, `${profile.sshCertificate.trim()}\n`)
  if (profile.operatorKey !== undefined)
    await replaceFile(dir, OPERATOR_KEY, `${profile.operatorKey}\n`)
  // Routes were found for whoever was logged in here before.
  await rm(join(dir, ROUTES), { recursive: true, force: true })
  await writeManifest(dir, { ...profile, caVersion })
  await syncDirectory(dir)
  return { ...profile, dir, caVersion }
}

function writeManifest(dir: string, m: Manifest): Promise<void> {
  const { cluster, api, proxies, user, caPins, caVersion, expires } = m
  const file = {
    v: 1,
    cluster,
    api,
    proxies,
    user,
    ca_pins: caPins,
    ca_version: caVersion,
    expires,
  }
  return replaceFile(dir, MANIFEST, `${JSON.stringify(file, undefined, 2)}\n`)
}

/**
 * Other CAs for a profile that lies there already. Key and certificates are left alone: another process may be renewing them. The
 * CAs come first, so that what names their version is never ahead of them.
 */
export async function saveCas(profile: StoredProfile, cas: ProfileCas): Promise<StoredProfile> {
  const { dir } = profile
  await replaceFile(dir, FILES.hostCas, cas.hostCas.join(''))
  await replaceFile(dir, FILES.policyKeys, JSON.stringify(cas.policyKeys))
  await replaceFile(dir, FILES.knownHosts, cas.knownHosts)
  const text = await readText(join(dir, MANIFEST))
  const now = text === undefined ? profile : readManifest(dir, text)
  await writeManifest(dir, { ...now, caVersion: cas.caVersion })
  await syncDirectory(dir)
  return { ...profile, ...cas }
}

export interface Credential {
  readonly certificate: Certificate
  readonly signer: Signer
}

/** Throws ERR_PROFILE_MISSING when key and certificate do not belong together, as after a crash between two files. */
export function credentialOf(profile: StoredProfile): Credential {
  let made: Credential
  try {
    const key = createPrivateKey(profile.keyPem)
    made = { certificate: readCertificate(profile.certificatePem), signer: keySigner(key) }
  } catch (cause) {
    throw incomplete(profile.dir, 'key or certificate cannot be read', cause)
  }
  if (!made.certificate.publicKey.equals(made.signer.publicKey))
    throw incomplete(profile.dir, 'key and certificate differ')
  return made
}
