/** `postern login`: a password for certificates. The key is made here and never leaves this machine. */
import path from 'node:path'
import { userCertificates } from '../../core/api/login.ts'
import { generateKey, spki } from '../../core/certs/signer.ts'
import { fromSeconds, iso } from '../../core/clock.ts'
import { caBundle } from '../../core/domain/cluster.ts'
import { parse } from '../../core/parse.ts'
import { apiClient, type ApiClient } from '../../net/http-client.ts'
import { fetchPinnedCa, systemTrust, type Trust } from '../../net/trust.ts'
import { callsOf } from '../client.ts'
import type { Cli } from '../cli.ts'
import { newerCas } from '../connect/follow-cas.ts'
import { discover, originOf } from '../connect/discover.ts'
import { saveProfile } from '../connect/profile.ts'
import { trustOf } from '../connect/trust.ts'
import { readPassword } from '../input.ts'
import { knownCluster, type KnownCluster } from '../known-cluster.ts'
import { loginName } from '../login-name.ts'
import { profileDir, setCurrent } from '../profiles.ts'
import { knownHosts, sshConfigFile } from '../ssh-config.ts'
import { usage } from '../ui/report.ts'

export interface LoginOptions {
  readonly proxy?: string | undefined
  readonly user?: string | undefined
  readonly caPin?: string[] | undefined
  readonly passwordFile?: string | undefined
  readonly ttl?: string | undefined
  readonly profile?: string | undefined
}

interface Target {
  readonly origin: string
  readonly pins: readonly string[]
  readonly trust: Trust
}

/** Where to sign in, and whom TLS believes: pins given now, else what the profile knows, else the system's roots. */
async function targetOf(
  cli: Cli,
  options: LoginOptions,
  known: KnownCluster | undefined,
): Promise<Target> {
  const asked = options.proxy === undefined ? undefined : originOf(options.proxy, '--proxy')
  const origin = asked ?? known?.api
  if (origin === undefined) throw usage('login: no cluster is known yet', 'give --proxy host:port')
  if (options.caPin) {
    const pins = options.caPin
    const { ca } = await fetchPinnedCa({ url: origin, pins, proxy: cli.env.httpsProxy })
    return { origin, pins, trust: { system: false, ca } }
  }
  if (known)
    return {
      origin,
      pins: known.ca_pins,
      trust: trustOf({ caPins: known.ca_pins, hostCas: [known.ca] }),
    }
  return { origin, pins: [], trust: systemTrust }
}

function userOf(cli: Cli, options: LoginOptions, known: KnownCluster | undefined): string {
  return options.user ?? known?.user ?? loginName(cli)
}

const rotated = (cli: Cli, known: KnownCluster, origin: string) =>
  newerCas(
    {
      cluster: known.cluster,
      api: origin,
      policyKeys: known.policyKeys,
      caVersion: known.ca_version,
    },
    cli.clock.now(),
    cli.env.httpsProxy,
  ).catch(() => undefined)

export async function login(cli: Cli, options: LoginOptions): Promise<void> {
  const chosen = await profileDir(cli, options)
  // Another cluster than the profile's: a profile of its own, and nothing of the old one is believed.
  const stored = chosen === undefined ? undefined : await knownCluster(chosen)
  const asked = options.proxy === undefined ? undefined : originOf(options.proxy, '--proxy')
  const known = stored && (asked === undefined || isOf(stored, asked)) ? stored : undefined
  const user = userOf(cli, options, known)
  let target = await targetOf(cli, options, known)
  const client = (baseUrl: string, trust = target.trust): ApiClient =>
    apiClient({
      baseUrl,
      trust,
      ...callsOf(cli),
    })
  const open = () => client(target.origin, { ...target.trust, anyProxy: true })
  let first = open()
  const found = await discover(first, target.pins).catch(async (e: unknown) => {
    first.close()
    // The CA that the last sign-in left here may have been rotated out: what the policy key signed says so.
    const next = known && (await rotated(cli, known, target.origin))
    if (!next) throw e
    target = { ...target, trust: { system: target.trust.system, ca: next.hostCas } }
    first = open()
    return discover(first)
  })
  // A password goes to the API alone, under its own name.
  const api = client(found.api)
  try {
    const readCas = async () =>
      parse(caBundle, await api.request('GET', '/v1/ca'), { code: 'ERR_INTERNAL' })
    const before = await readCas()
    const password = await readPassword(cli, {
      file: options.passwordFile,
      ask: `Password of ${user} at ${found.cluster}`,
    })
    const key = generateKey()
    const answer = parse(
      userCertificates,
      await api.request('POST', '/v1/login/password', {
        user,
        password,
        public_key: spki(key.publicKey).toString('base64url'),
        ttl: options.ttl,
      }),
      { code: 'ERR_INTERNAL' },
    )
    // A rotation may go on while a person types.
    const cas = answer.ca_version === before.ca_version ? before : await readCas()
    const dir =
      options.profile !== undefined && chosen !== undefined
        ? chosen
        : path.join(cli.home, answer.cluster)
    await saveProfile(dir, {
      cluster: answer.cluster,
      api: found.api,
      proxies: answer.proxies,
      user: answer.user,
      caPins: target.pins,
      expires: fromSeconds(answer.expires),
      hostCas: cas.host.x509,
      keyPem: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      certificatePem: answer.x509,
      sshCertificate: answer.ssh,
      knownHosts: knownHosts(answer.cluster, cas.host.ssh),
      sshConfig: sshConfigFile({ cluster: answer.cluster, profileDir: dir, self: cli.self }),
      policyKeys: cas.policy,
      caVersion: cas.ca_version,
    })
    if (options.profile === undefined) await setCurrent(cli, answer.cluster)
    cli.out(`signed in to ${answer.cluster} as ${answer.user}`)
    cli.out(`roles    ${answer.roles.join(', ')}`)
    cli.out(`logins   ${answer.logins.join(', ') || '(none)'}`)
    cli.out(`expires  ${iso(fromSeconds(answer.expires))}`)
    cli.note(
      dir === (await profileDir(cli, options))
        ? `postern ls shows what there is; the profile is ${dir}`
        : `other commands here use another profile; add --profile ${answer.cluster} for this one`,
    )
  } finally {
    api.close()
    first.close()
  }
}

const isOf = (profile: KnownCluster, origin: string): boolean =>
  profile.api === origin || profile.proxies.some((proxy) => originOf(proxy, 'proxy') === origin)
