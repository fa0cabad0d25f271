/** A user's machine: the profile, what ssh needs of it, and the way to every address in it. */
import { connect } from 'node:net'
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { whoami } from '../../core/api/login.ts'
import { caPin } from '../../core/certs/signer.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { AppError, isAppError, reasonOf } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { parse } from '../../core/parse.ts'
import { apiClient } from '../../net/http-client.ts'
import { connectTunnel } from '../../net/tunnel-client.ts'
import type { Cli } from '../cli.ts'
import { credentialOf, loadProfile, type StoredProfile } from '../connect/profile.ts'
import { trustOf } from '../connect/trust.ts'
import { profileDir } from '../profiles.ts'
import type { ProfileOptions } from '../host.ts'
import { sshConfigFile } from '../ssh-config.ts'
import { inTime } from '../ui/time.ts'
import { Problem, warning, type Examination } from './examination.ts'
import { examineDiscovery, examineProxy, examineWay, type Way } from './hops.ts'
import { examineResource } from './resource.ts'

const LOGIN = 'run postern login'
const HOUR = 3_600_000

async function openProfile(cli: Cli, options: ProfileOptions): Promise<StoredProfile> {
  const dir = await profileDir(cli, options)
  if (dir === undefined)
    throw new Problem('there is none', 'run postern login --proxy HOST:PORT', {
      code: 'ERR_PROFILE_MISSING',
    })
  return loadProfile(dir).catch((cause: unknown) => {
    const unsafe = isAppError(cause) && cause.code === 'ERR_DATA_DIR_UNSAFE'
    throw new Problem(reasonOf(cause), unsafe ? `chmod 700 ${dir}` : LOGIN, { cause })
  })
}

function certificate(cli: Cli, profile: StoredProfile): string {
  const now = cli.clock.now()
  const { notBefore, notAfter } = credentialOf(profile).certificate
  const ends = Math.min(notAfter, profile.expires)
  if (now >= ends)
    throw new Problem(`the certificate of ${profile.user} has expired`, LOGIN, {
      code: 'ERR_UNAUTHENTICATED',
    })
  if (now < notBefore)
    throw new Problem(
      'the certificate is not valid yet',
      'this machine’s clock is behind: timedatectl set-ntp true, or start chronyd',
      { code: 'ERR_CLOCK' },
    )
  if (ends - now < HOUR) throw warning(`it ends ${inTime(ends, now)}`, `${LOGIN} before that`)
  return `${profile.user}, ends ${inTime(ends, now)}`
}

function pins(profile: StoredProfile): string {
  if (profile.caPins.length === 0) return 'none; TLS believes the roots of this machine'
  const known = profile.hostCas.map((pem) => caPin(readCertificate(pem).publicKey))
  if (known.some((pin) => profile.caPins.includes(pin))) return 'the CA is the pinned one'
  throw new Problem('ca.pem holds another CA than the one pinned', `${LOGIN} --ca-pin sha256:…`, {
    code: 'ERR_CA_PIN_MISMATCH',
  })
}

/** Is there an agent behind SSH_AUTH_SOCK? Ours needs none; a dead one makes ssh wait and warn. */
function sshAgent(socket: string | undefined): Promise<string> {
  if (socket === undefined) return Promise.resolve('none, and none is needed')
  return new Promise((resolve, reject) => {
    const to = connect(socket)
    to.once('connect', () => {
      to.destroy()
      resolve('answers; Postern uses the key in the profile and needs none')
    })
    to.once('error', (e) =>
      reject(
        warning(
          `SSH_AUTH_SOCK leads nowhere (${(e as NodeJS.ErrnoException).code ?? e.message})`,
          'unset SSH_AUTH_SOCK, or start ssh-agent; only agent forwarding (-A) misses it',
        ),
      ),
    )
  })
}

/** What stock ssh makes of its own configuration for a name; `file`: of this one instead. */
function askSsh(name: string, file?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const args = [...(file === undefined ? [] : ['-F', file]), '-G', name]
    execFile('ssh', args, { timeout: LIMITS.dialTimeout.value }, (e, stdout, stderr) => {
      if (!e) return resolve(stdout)
      const why = stderr.trim().split('\n')[0] ?? e.message
      if ((e as NodeJS.ErrnoException).code === 'ENOENT')
        return reject(new Problem('there is no ssh', 'install openssh-client'))
      reject(new Problem(`ssh refuses it (${why})`, LOGIN))
    })
  })
}

async function sshConfig(cli: Cli, profile: StoredProfile): Promise<string> {
  const file = path.join(profile.dir, 'ssh_config')
  const now = sshConfigFile({ cluster: profile.cluster, profileDir: profile.dir, self: cli.self })
  const name = `doctor.${profile.cluster}`
  const said = await askSsh(name, file)
  if (!/^proxycommand .*proxy ssh/m.test(said))
    throw new Problem('it has no ProxyCommand of Postern', LOGIN)
  if ((await readFile(file, 'utf8')) !== now)
    throw warning('it was written by another installation of postern', LOGIN)
  if (/^proxycommand .*proxy ssh/m.test(await askSsh(name)))
    return 'good, and plain ssh knows the cluster too'
  return 'good; `postern config >> ~/.ssh/config` lets plain ssh know the cluster too'
}

async function signedRequest(cli: Cli, profile: StoredProfile): Promise<string> {
  const credential = credentialOf(profile)
  const api = apiClient({
    baseUrl: profile.api,
    trust: trustOf(profile),
    cluster: profile.cluster,
    identity: () => credential,
    clock: cli.clock,
    random: cli.random,
    proxy: cli.env.httpsProxy,
  })
  try {
    const me = parse(whoami, await api.request('GET', '/v1/whoami'), { code: 'ERR_INTERNAL' })
    return `known as ${me.kind} ${me.name}, roles ${me.roles.join(', ') || '(none)'}`
  } catch (cause) {
    const locked = isAppError(cause) && cause.code === 'ERR_LOCKED'
    throw new Problem(
      reasonOf(cause),
      locked ? 'a lock is in force: ask an operator (postern get lock)' : LOGIN,
      { cause },
    )
  } finally {
    api.close()
  }
}

/** The whole handshake, then one round trip. */
async function userTunnel(cli: Cli, profile: StoredProfile, address: string): Promise<string> {
  const tunnel = await connectTunnel({
    url: `wss://${address}`,
    trust: trustOf(profile),
    cluster: profile.cluster,
    hostCas: profile.hostCas.map((pem) => readCertificate(pem)),
    identity: credentialOf(profile),
    purpose: 'user',
    clock: cli.clock,
    random: cli.random,
    proxy: cli.env.httpsProxy,
    onOpen: (stream) => stream.refuse('ERR_TUNNEL_PROTOCOL'),
  }).catch((cause: unknown) => {
    const locked = isAppError(cause) && cause.code === 'ERR_LOCKED'
    const fix = locked ? 'a lock is in force: ask an operator (postern get lock)' : LOGIN
    throw new Problem(`refused (${isAppError(cause) ? cause.message : reasonOf(cause)})`, fix, {
      cause,
    })
  })
  try {
    const ms = await tunnel.session.ping()
    return `open, round trip ${ms.toFixed(1)} ms`
  } finally {
    tunnel.session.close()
  }
}

export async function examineUser(
  cli: Cli,
  exam: Examination,
  options: ProfileOptions & { readonly resource?: string | undefined },
): Promise<void> {
  let profile: StoredProfile | undefined
  const whole = await exam.check('profile', '', async () => {
    profile = await openProfile(cli, options)
    return `${profile.dir}, cluster ${profile.cluster}`
  })
  const known = profile
  if (!whole || !known) return
  const valid = await exam.check('certificate', '', () => certificate(cli, known))
  await exam.check('ca', '', () => pins(known))
  await exam.check('ssh_config', '', () => sshConfig(cli, known))
  await exam.check('ssh-agent', '', () => sshAgent(cli.env.sshAuthSock))

  const common = { cli, exam, pins: known.caPins, httpsProxy: cli.env.httpsProxy }
  const api: Way = { ...common, origin: known.api, trust: trustOf(known) }
  const reached = await examineWay(api)
  await examineDiscovery(api, known.cluster, [reached])
  const spoken = await exam.check('request', '', () => signedRequest(cli, known), [reached, valid])

  const hostCas = known.hostCas.map((pem) => readCertificate(pem))
  let open = false
  for (const address of known.proxies) {
    // A proxy of its own shows its identity, whatever name it is dialled by.
    const trust = { ...trustOf(known), anyProxy: true }
    const way: Way = { ...api, origin: `https://${address}`, trust }
    const same = new URL(way.origin).host === new URL(known.api).host
    const there = same ? reached : await examineWay(way)
    const proven = await examineProxy(way, { cluster: known.cluster, hostCas, purpose: 'user' }, [
      there,
    ])
    const tunnel = () => userTunnel(cli, known, address)
    if (await exam.check('tunnel', address, tunnel, [proven, valid])) open = true
  }
  if (options.resource === undefined) return
  await examineResource({ cli, exam, profile: known, resource: options.resource }, [spoken, open])
}

/** `web-1`, `node/web-1`, `app/grafana`. Throws ERR_USAGE. */
export function checkResourceWord(text: string): void {
  if (!/^((node|app)\/)?[a-z0-9][a-z0-9.-]*$/.test(text))
    throw new AppError('ERR_USAGE', 'doctor: name a node, or app/NAME')
}
