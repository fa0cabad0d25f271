/** The app service on a bare pair of streams: what its TLS accepts, and what it does with who does not play by the rules. */
import { Duplex } from 'node:stream'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { connect as tlsConnect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createAppService } from '../../../agent/services/app/service.ts'
import type { AgentService, ServiceContext, UserIdentity } from '../../../agent/services/service.ts'
import type { Decision, Grant } from '../../../core/access/decide.ts'
import { identityOf, userExtension, userUri } from '../../../core/certs/identity.ts'
import { generateKey } from '../../../core/certs/signer.ts'
import { issueCertificate } from '../../../core/certs/x509.ts'
import { readCertificate, toPem } from '../../../core/certs/x509-read.ts'
import { instant, plus } from '../../../core/clock.ts'
import type { SessionId } from '../../../core/ids.ts'
import { LIMITS } from '../../../core/limits.ts'
import { systemRandom } from '../../../core/random.ts'
import {
  checkInnerAnswer,
  encodeInnerHello,
  INNER_ALPN,
  readInnerFrame,
} from '../../../core/tunnel/inner.ts'
import { handClock, type HandClock } from '../../support/clock.ts'
import { AGENT_ID, ALICE, CLUSTER, HOUR, makeCa, type Ca } from '../../support/pki.ts'
import { recordingLog } from '../../support/recording-log.ts'
import { agentUri } from '../../../core/certs/identity.ts'

/** Two ends of one pipe; half-close kept. */
function pair(): [Duplex, Duplex] {
  const make = (peer: () => Duplex): Duplex =>
    new Duplex({
      allowHalfOpen: true,
      read() {},
      write(chunk, _encoding, done) {
        peer().push(chunk)
        done()
      },
      final(done) {
        peer().push(null)
        done()
      },
      destroy(error, done) {
        if (!this.readableEnded || !this.writableFinished) process.nextTick(() => peer().destroy())
        done(error)
      },
    })
  const a: Duplex = make(() => b)
  const b: Duplex = make(() => a)
  a.on('error', () => undefined)
  b.on('error', () => undefined)
  return [a, b]
}

interface Holder {
  readonly key: string
  readonly cert: string
}
async function holder(ca: Ca, uri: string, user: boolean): Promise<Holder> {
  const { privateKey, publicKey } = generateKey()
  // TLS judges by the machine's clock.
  const now = instant(Date.now())
  const der = await issueCertificate({
    subject: 'test',
    publicKey,
    issuer: ca,
    notBefore: plus(now, -60_000),
    notAfter: plus(now, HOUR),
    uris: [uri],
    usage: user ? ['client'] : ['client', 'server'],
    ...(user ? { extension: userExtension(ALICE) } : {}),
  })
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  return { key, cert: toPem(der) }
}

const GRANT: Grant = {
  forwardAgent: false,
  localForwarding: false,
  remoteForwarding: false,
  fileCopy: false,
  idleTimeout: undefined,
  maxSessions: undefined,
}

let clock: HandClock
let userCa: Ca
let hostCa: Ca
let agent: Holder
let alice: Holder
let target: Server
let service: AgentService
let decision: Decision
let changed: Set<() => void>
let events: { type: string; outcome: string; reason: string | undefined }[]
const log = recordingLog()

beforeEach(async () => {
  clock = handClock(Date.now())
  const now = instant(Date.now())
  userCa = await makeCa('user CA', 'ES256', now)
  hostCa = await makeCa('host CA', 'ES256', now)
  agent = await holder(hostCa, agentUri(CLUSTER, AGENT_ID, 'app'), false)
  alice = await holder(userCa, userUri(CLUSTER, 'alice'), true)
  target = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve))
  decision = { allow: true, roles: ['access'], grant: GRANT, why: '' }
  changed = new Set()
  events = []
  const ctx: ServiceContext = {
    clock,
    random: systemRandom,
    log,
    policy: {
      decide: () => decision,
      onChange(fn) {
        changed.add(fn)
        return () => void changed.delete(fn)
      },
      userCas: () => ({ sshBlobs: [], x509Pems: [toPem(userCa.certificate.raw)] }),
    },
    credential: () => ({
      agentId: AGENT_ID,
      cluster: CLUSTER,
      nodeName: 'web-1',
      keyPem: agent.key,
      x509Pem: agent.cert,
      sshHostCert: undefined,
    }),
    nodeLabels: () => ({}),
    audit: (e) => void events.push({ type: e.type, outcome: e.outcome, reason: e.reason }),
  }
  const { port } = target.address() as AddressInfo
  service = createAppService(ctx, {
    apps: () => [
      {
        name: 'echo',
        protocol: 'tcp',
        host: '127.0.0.1',
        port,
        labels: {},
        description: undefined,
      },
    ],
    labelled: (own) => own,
  })
})
afterEach(async () => {
  await service.close()
  await new Promise((resolve) => target.close(resolve))
})

function serve(duplex: Duplex, name = 'echo'): Promise<void> {
  const identity = identityOf(readCertificate(alice.cert)) as UserIdentity
  return service.serve(
    {
      duplex,
      sessionId: 'se_test' as SessionId,
      streamId: 'AAAAAAAAAAAAAAAAAAAAAA',
      resource: { kind: 'app', name },
      identity,
      claimedSource: undefined,
    },
    new AbortController().signal,
  )
}

function dial(duplex: Duplex, who: Partial<Holder>, more: ConnectionOptions = {}): TLSSocket {
  const socket = tlsConnect({
    socket: duplex,
    ...who,
    ca: toPem(hostCa.certificate.raw),
    minVersion: 'TLSv1.3',
    ALPNProtocols: [INNER_ALPN],
    checkServerIdentity: () => undefined,
    ...more,
  })
  socket.on('error', () => undefined)
  return socket
}

async function hello(socket: TLSSocket, name = 'echo'): Promise<void> {
  socket.write(encodeInnerHello(name))
  checkInnerAnswer(await readInnerFrame(socket, new AbortController().signal))
}

const read = async (socket: TLSSocket): Promise<string> => {
  const parts: Buffer[] = []
  for await (const part of socket) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}

describe('the door', () => {
  test('a user with the right certificate gets through, and half-close is kept', async () => {
    const [mine, its] = pair()
    const done = serve(its)
    const socket = dial(mine, alice)
    await hello(socket)
    socket.end('over and out')
    expect(await read(socket)).toBe('over and out')
    await done
    expect(events.map((e) => [e.type, e.outcome])).toEqual([
      ['app.start', 'ok'],
      ['app.end', 'ok'],
    ])
    expect(changed.size).toBe(0)
  })

  // A resumed session was not judged by the CAs of today.
  test('SPIRE 1.14.3: a session is never resumed, and each is judged by the CAs of now', async () => {
    const [mine, its] = pair()
    const done = serve(its)
    const first = dial(mine, alice)
    await hello(first)
    const session = first.getSession()
    first.end()
    await read(first)
    await done
    const [again, other] = pair()
    const second = serve(other)
    const resumed = dial(again, alice, session ? { session } : {})
    await hello(resumed)
    expect(resumed.isSessionReused()).toBe(false)
    resumed.end()
    await read(resumed)
    await second
    userCa = await makeCa('the next user CA', 'ES256', instant(Date.now()))
    const [last, end] = pair()
    const third = serve(end)
    const late = dial(last, alice, session ? { session } : {})
    await expect(hello(late)).rejects.toBeDefined()
    await third
    late.destroy()
  })

  test.each<[string, () => Promise<[Partial<Holder>, ConnectionOptions?]>]>([
    ['no certificate', async () => [{}]],
    ['a certificate of the host CA', async () => [agent]],
    [
      'an agent certificate by the user CA',
      async () => [await holder(userCa, agentUri(CLUSTER, AGENT_ID, 'app'), false)],
    ],
    [
      'another user than the offer',
      async () => [await holder(userCa, userUri(CLUSTER, 'bob'), true)],
    ],
    [
      'another CA',
      async () => [
        await holder(
          await makeCa('x', 'ES256', instant(Date.now())),
          userUri(CLUSTER, 'alice'),
          true,
        ),
      ],
    ],
    ['another ALPN', async () => [alice, { ALPNProtocols: ['http/1.1'] }]],
    ['no ALPN', async () => [alice, { ALPNProtocols: undefined }]],
    ['TLS 1.2', async () => [alice, { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }]],
  ])('%s does not get through, and the target hears nothing', async (_what, who) => {
    const [mine, its] = pair()
    let dialled = 0
    target.on('connection', () => (dialled += 1))
    const done = serve(its)
    const [held, more] = await who()
    const socket = dial(mine, held, more)
    await expect(hello(socket)).rejects.toBeDefined()
    await done
    expect(dialled).toBe(0)
    expect(events).toMatchObject([{ type: 'session.refused', outcome: 'refused' }])
    socket.destroy()
  })

  test.each([
    ['garbage', Buffer.from('GET / HTTP/1.0\r\n\r\n')],
    ['a hello of TLS cut short', Buffer.from('160301', 'hex')],
    ['nothing and the end', undefined],
  ])('%s instead of TLS ends the stream', async (_what, bytes) => {
    const [mine, its] = pair()
    const done = serve(its)
    mine.end(bytes)
    await done
    expect(its.destroyed).toBe(true)
    expect(events).toHaveLength(1)
  })

  test('who connects and says nothing is cut at the deadline', async () => {
    const [mine, its] = pair()
    const done = serve(its)
    const socket = dial(mine, alice)
    await new Promise<void>((resolve) => socket.on('secureConnect', resolve))
    // One turn for the agent's half of the handshake.
    await new Promise((resolve) => setImmediate(resolve))
    clock.advance(LIMITS.handshakeTimeout.value)
    clock.advance(2000)
    await done
    expect(events[0]?.reason).toContain('inner handshake')
  })
})

describe('the name inside TLS', () => {
  test('another app than the offer named is denied', async () => {
    const [mine, its] = pair()
    const done = serve(its)
    const socket = dial(mine, alice)
    await expect(hello(socket, 'other')).rejects.toMatchObject({ code: 'ERR_ACCESS_DENIED' })
    socket.destroy()
    await done
    expect(events).toMatchObject([{ type: 'session.refused', reason: 'TLS asks for app other' }])
  })

  test('CVE-2026-48113, GHSA-397r-r4gr-x5pg (chisel): the decision is made for each stream, and again inside TLS', async () => {
    decision = { allow: false, reason: 'user locked', why: 'lock lk_1' }
    const [mine, its] = pair()
    const done = serve(its)
    const socket = dial(mine, alice)
    await expect(hello(socket)).rejects.toMatchObject({
      code: 'ERR_ACCESS_DENIED',
      message: 'Access denied',
    })
    socket.destroy()
    await done
    expect(events[0]?.reason).toContain('user locked')
  })

  test.each([
    ['too long', Buffer.from('ffffffff', 'hex')],
    ['empty', Buffer.from('00000000', 'hex')],
    ['not JSON', Buffer.concat([Buffer.from('00000003', 'hex'), Buffer.from('abc')])],
    [
      'of another kind',
      Buffer.concat([Buffer.from('0000000e', 'hex'), Buffer.from('{"v":1,"x":12}')]),
    ],
  ])('a first frame that is %s ends the stream', async (_what, bytes) => {
    const [mine, its] = pair()
    const done = serve(its)
    const socket = dial(mine, alice)
    socket.write(bytes)
    await read(socket).catch(() => undefined)
    clock.advance(2000)
    await done
    expect(events).toMatchObject([{ type: 'session.refused' }])
  })
})

describe('what ends a session', () => {
  async function live(): Promise<{ socket: TLSSocket; done: Promise<void>; gone: Promise<void> }> {
    const [mine, its] = pair()
    const done = serve(its)
    const socket = dial(mine, alice)
    const gone = new Promise<void>((resolve) => socket.on('close', () => resolve()))
    await hello(socket)
    socket.write('x')
    await new Promise((resolve) => socket.on('data', resolve).resume())
    return { socket, done, gone }
  }

  test('a policy that stops allowing it', async () => {
    const { done, gone } = await live()
    decision = { allow: false, reason: 'user locked', why: 'lock lk_1' }
    for (const fn of changed) fn()
    await Promise.all([done, gone])
    expect(events.at(-1)).toMatchObject({ type: 'app.end', outcome: 'failed' })
    expect(events.at(-1)?.reason).toContain('user locked')
  })

  test('the end of the certificate', async () => {
    const { done, gone } = await live()
    clock.advance(HOUR)
    await Promise.all([done, gone])
    expect(events.at(-1)?.reason).toBe('certificate expired')
  })

  test('idling longer than the role allows', async () => {
    decision = { allow: true, roles: ['access'], grant: { ...GRANT, idleTimeout: 60_000 }, why: '' }
    const { done, gone } = await live()
    clock.advance(60_000)
    expect(events).toHaveLength(1)
    clock.advance(60_000)
    await Promise.all([done, gone])
    expect(events.at(-1)?.reason).toContain('idle')
  })

  test('the agent stopping', async () => {
    const { done, gone } = await live()
    await service.close()
    await Promise.all([done, gone])
  })

  test('a user that breaks off', async () => {
    const { socket, done } = await live()
    socket.destroy()
    await done
    expect(events.at(-1)).toMatchObject({ type: 'app.end', outcome: 'failed' })
  })
})
