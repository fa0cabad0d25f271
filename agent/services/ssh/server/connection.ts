/**
 * One SSH connection in its worker: sets ssh2 up with every repair, lets the user in, and hands channels to those who serve
 * them. All decisions are asked of the main thread.
 */
import type { Duplex } from 'node:stream'
import ssh2, { type AuthContext, type Connection } from 'ssh2'
import type { Grant } from '../../../../core/access/decide.ts'
import { systemClock, type Clock } from '../../../../core/clock.ts'
import { reasonOf } from '../../../../core/errors.ts'
import { LIMITS } from '../../../../core/limits.ts'
import type { Start } from '../messages.ts'
import { startHelper, type Helper } from '../helper-client.ts'
import { accountByName, type Account } from '../helper/accounts.ts'
import { portDuplex } from '../port-duplex.ts'
import { installExtInfo } from '../ssh2/ext-info.ts'
import { disconnectWith, installGuards, sendBanner, type Guards } from '../ssh2/guards.ts'
import { hostCertificateKey } from '../ssh2/host-certificate.ts'
import { DISCONNECT, internalsOf } from '../ssh2/internals.ts'
import { installMlkem } from '../ssh2/mlkem.ts'
import { installPackets } from '../ssh2/packets.ts'
import { accountRefusal, thisHost } from './account.ts'
import { authenticate } from './authenticate.ts'
import type { Link } from './link.ts'
import { serveLocalForwards } from './local-forwards.ts'
import { serveRemoteForwards } from './remote-forwards.ts'
import { serveSessions } from './sessions.ts'

/** What those who serve the channels of a connection share. */
export interface Live {
  readonly client: Connection
  readonly guards: Guards
  readonly link: Link
  readonly helper: Helper
  readonly account: Account
  readonly start: Start
  readonly clock: Clock
  /** Things that a later, narrower grant ends. */
  onNarrowed(fn: (grant: Grant) => void): void
  /** Exit code of the last session, for the audit log. */
  ended(exitCode: number): void
  /** Runs what may fail because the client has gone; failures are logged, never thrown. */
  run(what: string, work: () => void | Promise<void>): void
}

/** Group exchange is offered by ssh2 but not implemented; NIST curves and the large groups serve older clients. */
const KEX = [
  'curve25519-sha256',
  'curve25519-sha256@libssh.org',
  'ecdh-sha2-nistp256',
  'ecdh-sha2-nistp384',
  'ecdh-sha2-nistp521',
  'diffie-hellman-group16-sha512',
  'diffie-hellman-group18-sha512',
  'diffie-hellman-group14-sha256',
] as const
const CIPHERS = [
  'chacha20-poly1305@openssh.com',
  'aes128-gcm@openssh.com',
  'aes256-gcm@openssh.com',
  'aes128-ctr',
  'aes192-ctr',
  'aes256-ctr',
] as const
const MACS = [
  'hmac-sha2-256-etm@openssh.com',
  'hmac-sha2-512-etm@openssh.com',
  'hmac-sha2-256',
  'hmac-sha2-512',
] as const
const KEEPALIVE_MS = 15_000

export function serveConnection(start: Start, link: Link, clock: Clock = systemClock): void {
  const socket = portDuplex(start.bytes)
  const hostKey = hostCertificateKey(start.hostKey, Buffer.from(start.hostCertificate))
  const server = new ssh2.Server({
    hostKeys: [{ key: hostKey.offered as unknown as string }],
    ident: start.ident,
    algorithms: { kex: [...KEX], cipher: [...CIPHERS], hmac: [...MACS] },
    keepaliveInterval: KEEPALIVE_MS,
  })
  let exitCode: number | undefined
  let finished = false
  let helper: Helper | undefined
  let wipeKeys = (): void => undefined
  const finish = (): void => {
    if (finished) return
    finished = true
    grace.cancel()
    socket.destroy()
    wipeKeys()
    void (helper?.end() ?? Promise.resolve()).then(() => link.end(exitCode))
  }
  const grace = clock.after(LIMITS.sshLoginGrace.value, () => {
    link.report('session.refused', 'refused', {}, 'did not authenticate in time')
    finish()
  })
  // The stream from the tunnel stays open one way when the client has gone; SSH has no use for that.
  socket.on('end', () => socket.end()).on('close', finish)
  socket.on('error', () => undefined)
  link.onCut(() => finish())

  /** Started by whoever speaks SSH at all; it loads during the key exchange. */
  const helperFor = (): Helper => {
    if (helper) return helper
    helper = startHelper(start.helper, start.helperSockets, clock)
    link.helperStarted(helper.pid)
    void helper.gone.then(finish)
    return helper
  }

  server.on('connection', (client) => {
    hostKey.install(client)
    installMlkem(client)
    wipeKeys = installPackets(client)
    installExtInfo(client)
    const guards = installGuards(client, (what) =>
      link.report('session.refused', 'refused', {}, `the client broke the protocol: ${what}`),
    )
    client.on('error', (e) => link.log('ssh.client_error', { reason: reasonOf(e) }))
    helperFor()
    letIn({ client, start, link, clock, helperFor }, (account, grant) => {
      const helper = helperFor()
      grace.cancel()
      serveUser(
        {
          ...{ client, guards, link, helper, account, start, clock },
          ended: (code) => void (exitCode = code),
          run: (what, work) => void safely(link, what, work),
          onNarrowed: createGrants(link, clock, client, grant),
        },
        socket,
        finish,
      )
    })
  })
  server.injectSocket(socket as never)
}

async function safely(link: Link, what: string, work: () => void | Promise<void>): Promise<void> {
  try {
    await work()
  } catch (e) {
    link.log('ssh.failed', { what, reason: reasonOf(e) })
  }
}

interface Door {
  readonly client: Connection
  readonly start: Start
  readonly link: Link
  readonly clock: Clock
  readonly helperFor: () => Helper
}

/** Authentication, until somebody is let in. */
function letIn(door: Door, enter: (account: Account, grant: Grant) => void): void {
  const { client, link } = door
  let tries = 0
  const refuse = (attempt: AuthContext, reason: string, line?: string): void => {
    if (line !== undefined) sendBanner(client, `postern: ${line}`)
    if (attempt.method !== 'none') {
      const { username: login, method } = attempt
      if (attempt.method !== 'publickey' || attempt.signature)
        link.report('session.refused', 'refused', { login, method }, reason)
      if (++tries >= LIMITS.sshAuthTries.value) {
        internalsOf(client)._protocol.disconnect(DISCONNECT.noMoreAuthMethods)
        return void internalsOf(client)._sock.end()
      }
    }
    attempt.reject(['publickey'])
  }
  client.on('authentication', (attempt) => {
    void safely(link, 'authentication', async () => {
      const { user, userCas, cluster } = door.start
      const verdict = authenticate(attempt, { user, userCas, cluster, now: door.clock.now() })
      switch (verdict.kind) {
        case 'offer':
          return attempt.accept()
        case 'refused':
          return refuse(attempt, verdict.reason, verdict.line)
        case 'proven':
          return admit(door, attempt, verdict, refuse, enter)
      }
    })
  })
}

async function admit(
  { link, helperFor, client }: Door,
  attempt: AuthContext,
  proven: Extract<ReturnType<typeof authenticate>, { kind: 'proven' }>,
  refuse: (attempt: AuthContext, reason: string, line?: string) => void,
  enter: (account: Account, grant: Grant) => void,
): Promise<void> {
  const { login, identity, certificate } = proven
  const answer = await link.ask({ op: 'login', login, identity, certificate })
  // The main thread has audited why.
  if (!answer.allow) {
    sendBanner(client, `postern: ${answer.line}`)
    return attempt.reject(['publickey'])
  }
  const account = accountByName(login)
  const line = accountRefusal(login, account, thisHost())
  if (line !== undefined || !account) return refuse(attempt, line ?? 'no account', line)
  try {
    await helperFor().become(account)
  } catch (e) {
    return refuse(attempt, reasonOf(e), 'the session could not be set up on this node')
  }
  const begun = await link.ask({ op: 'begin' })
  if (!begun.allow) return refuse(attempt, 'refused while it was set up', begun.line)
  client.once('ready', () => enter(account, begun.grant))
  attempt.accept()
}

/** Keeps the newest grant: tells those who care, and ends connections that idle longer than it allows. */
function createGrants(
  link: Link,
  clock: Clock,
  client: Connection,
  first: Grant,
): (fn: (grant: Grant) => void) => void {
  const listeners: ((grant: Grant) => void)[] = []
  let grant = first
  let active = clock.monotonic()
  let timer = { cancel: (): void => undefined }
  const watch = (): void => {
    timer.cancel()
    if (grant.idleTimeout === undefined) return
    const left = active + grant.idleTimeout - clock.monotonic()
    if (left > 0) timer = clock.after(left, watch)
    else {
      link.log('ssh.idle')
      client.emit('idle')
    }
  }
  internalsOf(client).on('activity', () => (active = clock.monotonic()))
  client.on('close', () => timer.cancel())
  link.onGrant((next) => {
    grant = next
    watch()
    for (const listener of listeners) listener(next)
  })
  watch()
  return (fn) => void listeners.push(fn)
}

function serveUser(live: Live, socket: Duplex, finish: () => void): void {
  const { client, link } = live
  const endWith = (line: string): void => {
    disconnectWith(client, `postern: ${line}`)
    // What was written goes out first, if the client takes it.
    if (socket.writableFinished) finish()
    else socket.once('finish', finish)
  }
  link.onCut((line) => live.run('cut', () => endWith(line)))
  internalsOf(client).on('idle', () =>
    live.run('idle', () => {
      link.report('session.refused', 'refused', {}, 'idle for longer than the role allows')
      endWith('ended because it was idle')
    }),
  )
  serveSessions(live)
  serveLocalForwards(live)
  serveRemoteForwards(live)
}
