/**
 * An ssh service behind a local port, with CAs of its own, and stock OpenSSH set up to reach it. The bridge from the port to
 * the service stands for the tunnel: a stream of bytes with half-close.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { build } from 'esbuild'
import { createSshService, type SshServiceOptions } from '../../../agent/services/ssh/service.ts'
import type { ServiceStream, UserIdentity } from '../../../agent/services/service.ts'
import { userSshExtensions } from '../../../core/certs/identity.ts'
import { generateKey, keySigner, type KeyPair } from '../../../core/certs/signer.ts'
import {
  issueSshCertificate,
  type SshCertificateRequest,
} from '../../../core/certs/ssh-certificate.ts'
import { authorizedKey, publicKeyBlob } from '../../../core/certs/ssh-key.ts'
import { exportSshPrivateKey } from '../../../core/certs/ssh-private-key.ts'
import { plus, systemClock, type Clock } from '../../../core/clock.ts'
import type { Role } from '../../../core/domain/role.ts'
import { newId } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { fakeServiceContext, openRole, type FakeContext } from '../../fakes/service-context.ts'

export const ME = userInfo().username
export const CLUSTER = 'test.example'
export const NODE = 'node-1'
export const USER = 'ann'
const HOUR = 3_600_000

export interface Result {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}
export interface RunOptions {
  readonly input?: string | Buffer
  readonly env?: Record<string, string>
}

export interface World {
  readonly ctx: FakeContext
  readonly dir: string
  readonly port: number
  /** The bundled entry files. */
  readonly entries: { readonly worker: string; readonly helper: string }
  /** `-F file` and the like, for any OpenSSH tool. */
  readonly config: readonly string[]
  /** Signs and writes a certificate beside a key; the file to give to `-i`. */
  identity(name: string, request?: Partial<SshCertificateRequest>, ca?: KeyPair): Promise<string>
  ssh(args: readonly string[], options?: RunOptions): Promise<Result>
  run(file: string, args: readonly string[], options?: RunOptions): Promise<Result>
  start(file: string, args: readonly string[], env?: Record<string, string>): ChildProcess
  /** Identity of the streams that come from now on. */
  streamOf(change: Partial<UserIdentity>): void
  close(): Promise<void>
}

export interface WorldOptions {
  readonly roles?: readonly Role[]
  readonly logins?: readonly string[]
  readonly service?: SshServiceOptions
  readonly clock?: Clock
  readonly hostKey?: 'ES256' | 'EdDSA'
}

let bundled: Promise<{ worker: string; helper: string }> | undefined
/** The entry files as a release has them: one bundle each, made once for a test file. */
function bundle(): Promise<{ worker: string; helper: string }> {
  bundled ??= (async () => {
    const root = path.resolve(import.meta.dirname, '../../..')
    // Inside node_modules, so that what stays external is found from there.
    const cache = path.join(root, 'node_modules/.cache/ssh-entries')
    const out = path.join(cache, String(process.pid))
    mkdirSync(out, { recursive: true })
    for (const pid of readdirSync(cache))
      if (!existsSync(`/proc/${pid}`))
        rmSync(path.join(cache, pid), { recursive: true, force: true })
    await build({
      entryPoints: ['ssh-worker', 'ssh-session-helper'].map((name) => ({
        in: path.join(root, `agent/services/ssh/${name}.main.ts`),
        out: name,
      })),
      outdir: out,
      outExtension: { '.js': '.mjs' },
      bundle: true,
      splitting: true,
      format: 'esm',
      platform: 'node',
      target: 'node20',
      external: ['koffi', 'ssh2'],
      logLevel: 'error',
    })
    return {
      worker: path.join(out, 'ssh-worker.mjs'),
      helper: path.join(out, 'ssh-session-helper.mjs'),
    }
  })()
  return bundled
}

export function collect(child: ChildProcess, input?: string | Buffer): Promise<Result> {
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout?.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => err.push(chunk))
  child.stdin?.on('error', () => undefined)
  child.stdin?.end(input)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      const text = (chunks: Buffer[]): string => Buffer.concat(chunks).toString('utf8')
      resolve({ code, signal, stdout: text(out), stderr: text(err) })
    })
  })
}

export async function openWorld(options: WorldOptions = {}): Promise<World> {
  const logins = options.logins ?? [ME]
  const dir = mkdtempSync(path.join(tmpdir(), 'postern-ssh-'))
  const userCa = generateKey('ES256')
  const hostCa = generateKey('ES256')
  const hostKey = generateKey(options.hostKey ?? 'ES256')
  const now = systemClock.now()
  const hostCertificate = await issueSshCertificate(
    {
      role: 'host',
      publicKey: hostKey.publicKey,
      keyId: NODE,
      principals: [NODE, `${NODE}.${CLUSTER}`],
      validAfter: plus(now, -60_000),
      validBefore: plus(now, HOUR),
    },
    keySigner(hostCa.privateKey),
  )
  const roles = options.roles ?? [openRole('access', logins)]
  const roleNames = roles.map((role) => role.name)
  const ctx = fakeServiceContext({
    policy: {
      roles,
      users: { [USER]: roleNames },
      locks: [],
      userCas: [publicKeyBlob(userCa.publicKey)],
    },
    credential: {
      cluster: CLUSTER,
      nodeName: NODE,
      keyPem: hostKey.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      x509Pem: '',
      sshHostCert: authorizedKey(hostCertificate),
    },
    ...(options.clock && { clock: options.clock }),
  })
  const entries = await bundle()
  const service = createSshService(ctx, { entries, ...options.service })
  let identity: UserIdentity = {
    kind: 'user',
    cluster: CLUSTER,
    user: USER,
    roles: roleNames,
    logins,
    traits: {},
    expires: plus(ctx.clock.now(), HOUR),
  }
  const stop = new AbortController()
  const sockets = new Set<Socket>()
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (duplex) => {
    sockets.add(duplex)
    duplex.on('error', () => undefined).on('close', () => sockets.delete(duplex))
    const stream: ServiceStream = {
      duplex,
      sessionId: newId('session', now, systemRandom),
      streamId: 'AAAAAAAAAAAAAAAAAAAAAA',
      resource: { kind: 'node', name: NODE },
      identity,
      claimedSource: '192.0.2.7:50000',
    }
    void service.serve(stream, stop.signal)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo

  const file = (name: string): string => path.join(dir, name)
  writeFileSync(
    file('known_hosts'),
    `@cert-authority ${NODE},*.${CLUSTER} ${authorizedKey(publicKeyBlob(hostCa.publicKey))}\n`,
  )
  const world: World = {
    ctx,
    dir,
    port,
    entries,
    config: ['-F', file('config')],
    async identity(name, request = {}, ca = userCa) {
      const key = generateKey('EdDSA')
      writeFileSync(file(name), exportSshPrivateKey(key.privateKey), { mode: 0o600 })
      const blob = await issueSshCertificate(
        {
          role: 'user',
          publicKey: key.publicKey,
          keyId: USER,
          principals: logins,
          validAfter: plus(now, -60_000),
          validBefore: plus(now, HOUR),
          extensions: userSshExtensions({ roles: roleNames, traits: {} }),
          ...request,
        },
        keySigner(ca.privateKey),
      )
      writeFileSync(file(`${name}-cert.pub`), `${authorizedKey(blob)}\n`)
      return file(name)
    },
    ssh: (args, run) => world.run('ssh', [...world.config, ...args], run),
    run: (program, args, { input, env = {} } = {}) =>
      collect(world.start(program, args, env), input),
    start: (program, args, env = {}) =>
      spawn(program, args, { env: { PATH: process.env['PATH'], HOME: dir, ...env } }),
    streamOf: (change) => void (identity = { ...identity, ...change }),
    async close() {
      stop.abort()
      server.close()
      await service.close()
      for (const socket of sockets) socket.destroy()
      rmSync(dir, { recursive: true, force: true })
    },
  }
  const key = await world.identity('id')
  writeFileSync(
    file('config'),
    [
      `Host ${NODE} *.${CLUSTER}`,
      `  HostName 127.0.0.1`,
      `  HostKeyAlias ${NODE}`,
      `  Port ${port}`,
      `  User ${logins[0]}`,
      `  IdentityFile ${key}`,
      `  IdentitiesOnly yes`,
      `  IdentityAgent none`,
      `  UserKnownHostsFile ${file('known_hosts')}`,
      `  GlobalKnownHostsFile /dev/null`,
      `  StrictHostKeyChecking yes`,
      `  BatchMode yes`,
      `  LogLevel INFO`,
      // As cli/ssh-config.ts has it.
      `  Ciphers ^aes128-gcm@openssh.com,aes256-gcm@openssh.com`,
      '',
    ].join('\n'),
  )
  return world
}
