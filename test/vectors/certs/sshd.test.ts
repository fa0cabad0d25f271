/**
 * Does a real sshd take our user certificates, and does a real ssh take our host certificates? sshd runs in inetd mode as the
 * ProxyCommand of ssh, so no port is opened.
 */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { plus, systemClock } from '../../../core/clock.ts'
import { userSshExtensions } from '../../../core/certs/identity.ts'
import { generateKey, keySigner, type Signer } from '../../../core/certs/signer.ts'
import { issueSshCertificate } from '../../../core/certs/ssh-certificate.ts'
import type { SshCertificateRequest } from '../../../core/certs/ssh-certificate.ts'
import { authorizedKey, publicKeyBlob } from '../../../core/certs/ssh-key.ts'
import { exportSshPrivateKey } from '../../../core/certs/ssh-private-key.ts'
import { ALICE, HOUR } from '../../support/pki.ts'

const SSHD = '/usr/sbin/sshd'
const RUN = '/run/sshd'
const root = process.getuid?.() === 0
// As root, sshd wants this directory to exist; the service's start-up makes it, a container may lack it.
if (root && existsSync(SSHD) && !existsSync(RUN)) mkdirSync(RUN, { mode: 0o755 })
const missing = !existsSync(SSHD) || (root && !existsSync(RUN))
if (missing) console.warn(`SKIPPED: ${SSHD} is not here, so no sshd judges our certificates`)

const NODE = 'web-1.demo.postern'
const me = userInfo().username
let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'postern-sshd-'))
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const file = (name: string, text: string): string => {
  const path = join(dir, name)
  writeFileSync(path, text, { mode: 0o600 })
  return path
}
const publicLine = (key: Signer['publicKey']): string => authorizedKey(publicKeyBlob(key)) + '\n'

const KINDS = ['ES256', 'EdDSA'] as const
type Kind = (typeof KINDS)[number]

interface Case {
  /** What differs from a certificate that should be accepted. */
  readonly user?: Partial<SshCertificateRequest>
  readonly host?: Partial<SshCertificateRequest>
  /** Signed by a CA that nobody trusts. */
  readonly rogueUserCa?: boolean
  readonly rogueHostCa?: boolean
}

function run(
  configuration: string,
  knownHosts: string,
): Promise<{ code: number; err: string; out: string }> {
  const proxy = `${SSHD} -i -e -f ${configuration}`
  const options = {
    ProxyCommand: proxy,
    UserKnownHostsFile: knownHosts,
    GlobalKnownHostsFile: '/dev/null',
    StrictHostKeyChecking: 'yes',
    IdentitiesOnly: 'yes',
    IdentityFile: join(dir, 'id'),
    CertificateFile: join(dir, 'id-cert.pub'),
    BatchMode: 'yes',
    PreferredAuthentications: 'publickey',
  }
  const args = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  return new Promise((resolve) => {
    execFile(
      'ssh',
      ['-F', '/dev/null', ...args, `${me}@${NODE}`, 'echo in'],
      { timeout: 20_000 },
      (error, out, err) => resolve({ code: error ? 1 : 0, out, err }),
    )
  })
}

async function login(caKind: Kind, keyKind: Kind, change: Case = {}) {
  const now = systemClock.now()
  const times = { validAfter: plus(now, -60_000), validBefore: plus(now, HOUR) }
  const [userCa, hostCa, rogue] = [1, 2, 3].map(() => keySigner(generateKey(caKind).privateKey))
  if (!userCa || !hostCa || !rogue) throw new Error('three CAs')
  const [user, host] = [generateKey(keyKind), generateKey(keyKind)]
  const userCert = await issueSshCertificate(
    {
      role: 'user',
      publicKey: user.publicKey,
      keyId: 'alice',
      principals: [me],
      extensions: { 'permit-pty': '', ...userSshExtensions(ALICE) },
      ...times,
      ...change.user,
    },
    change.rogueUserCa ? rogue : userCa,
  )
  const hostCert = await issueSshCertificate(
    {
      role: 'host',
      publicKey: host.publicKey,
      keyId: 'web-1',
      principals: [NODE],
      ...times,
      ...change.host,
    },
    change.rogueHostCa ? rogue : hostCa,
  )
  file('id', exportSshPrivateKey(user.privateKey))
  file('id-cert.pub', authorizedKey(userCert) + '\n')
  file('host', exportSshPrivateKey(host.privateKey))
  file('host-cert.pub', authorizedKey(hostCert) + '\n')
  const configuration = file(
    'sshd_config',
    [
      `HostKey ${join(dir, 'host')}`,
      `HostCertificate ${join(dir, 'host-cert.pub')}`,
      `TrustedUserCAKeys ${file('user-ca.pub', publicLine(userCa.publicKey))}`,
      'AuthorizedKeysFile none',
      'PasswordAuthentication no',
      'PermitRootLogin prohibit-password',
      'UsePAM no',
      'StrictModes no',
      'PidFile none',
      'LogLevel VERBOSE',
    ].join('\n') + '\n',
  )
  return run(
    configuration,
    file('known', `@cert-authority ${NODE} ${publicLine(hostCa.publicKey)}`),
  )
}

describe.skipIf(missing)('a real sshd and a real ssh', () => {
  describe.each(KINDS)('a CA with %s', (caKind) => {
    test.each(KINDS)('user and host certificates for %s keys open a session', async (keyKind) => {
      const { code, out, err } = await login(caKind, keyKind)
      expect(err).toContain('Accepted publickey for ' + me)
      expect(err).toContain('ID alice (serial ')
      expect({ code, out }).toEqual({ code: 0, out: 'in\n' })
    })
  })

  test.each<[string, Case, RegExp]>([
    [
      'a login that is not a principal',
      { user: { principals: ['somebody'] } },
      /Permission denied/,
    ],
    ['a user certificate of another CA', { rogueUserCa: true }, /Permission denied/],
    [
      'a host certificate as a user certificate',
      { user: { role: 'host', extensions: {} } },
      /Permission denied/,
    ],
    ['a host certificate of another CA', { rogueHostCa: true }, /Host key verification failed/],
    [
      'a host certificate for another name',
      { host: { principals: ['db-1'] } },
      /Host key verification failed/,
    ],
  ])('refuse %s', async (_name, change, reason) => {
    const { code, err } = await login('ES256', 'EdDSA', change)
    expect(code).toBe(1)
    expect(err).toMatch(reason)
  })
})
