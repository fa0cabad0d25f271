// TLS inside an app's stream: the proxy reads none of it, and the user's side talks to the agent of the route or to nobody.
import { randomBytes } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openInner } from '../../../cli/connect/inner-tls.ts'
import type { StoredProfile } from '../../../cli/connect/profile.ts'
import { checkRoute } from '../../../core/api/route-check.ts'
import { agentUri, userExtension } from '../../../core/certs/identity.ts'
import { generateKey, keySigner } from '../../../core/certs/signer.ts'
import { issueCertificate } from '../../../core/certs/x509.ts'
import { toPem } from '../../../core/certs/x509-read.ts'
import { plus, systemClock } from '../../../core/clock.ts'
import type { AgentId } from '../../../core/ids.ts'
import { toDuplex } from '../../../core/tunnel/duplex.ts'
import { encodeInnerAnswer, innerRefusal, readInnerFrame } from '../../../core/tunnel/inner.ts'
import { AppError } from '../../../core/errors.ts'
import { decodeOpen } from '../../../core/tunnel/open.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import { createInnerTls } from '../../../agent/services/app/inner-tls.ts'
import { CLUSTER, HOUR, failure, type Ca } from '../../support/pki.ts'
import { proxyWorld, type World } from '../../support/proxy-world.ts'
import { collect } from '../../support/streams.ts'

let world: World
// OpenSSL judges certificates by the machine's clock, so this one is real.
beforeEach(async () => {
  world = await proxyWorld({ clock: systemClock })
})
afterEach(() => world.close())

async function pems(ca: Ca, uri: string, user?: { roles: string[] }) {
  const { privateKey } = generateKey()
  const now = systemClock.now()
  const der = await issueCertificate({
    subject: 'test',
    publicKey: keySigner(privateKey).publicKey,
    issuer: ca,
    notBefore: plus(now, -60_000),
    notAfter: plus(now, HOUR),
    uris: [uri],
    usage: user ? ['client'] : ['client', 'server'],
    ...(user ? { extension: userExtension({ ...user, traits: {}, logins: [] }) } : {}),
  })
  const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  return { keyPem, certificatePem: toPem(der) }
}

/** An agent whose app service speaks the real inner TLS with the certificate given, and echoes what it gets. */
async function agent(
  certificate: { readonly keyPem: string; readonly certificatePem: string },
  id: AgentId,
  answer: Buffer = encodeInnerAnswer({ v: 1, ok: true }),
) {
  const inner = createInnerTls({
    clock: systemClock,
    policy: {
      userCas: () => ({ sshBlobs: [], x509Pems: [toPem(world.userCa.certificate.raw)] }),
    },
    credential: () => ({
      agentId: id,
      cluster: CLUSTER,
      nodeName: 'web-1',
      keyPem: certificate.keyPem,
      x509Pem: certificate.certificatePem,
      sshHostCert: undefined,
    }),
  })
  const asked: unknown[] = []
  const serve = async (stream: TunnelStream): Promise<void> => {
    stream.accept()
    const { socket } = await inner.accept(toDuplex(stream), AbortSignal.timeout(5_000))
    socket.on('error', () => undefined)
    asked.push(await readInnerFrame(socket, AbortSignal.timeout(5_000)))
    socket.write(answer)
    socket.pipe(socket)
  }
  await world.dial({
    leaf: await world.agentLeaf(id, 'app'),
    onOpen(stream, payload) {
      if (decodeOpen(payload).kind !== 'policy') return void serve(stream).catch(() => undefined)
      stream.accept()
      void collect(stream).then(() => stream.end())
    },
  })
  return asked
}

const APP = { kind: 'app', name: 'grafana' } as const

async function reach(id: AgentId): Promise<TLSSocket> {
  const leaf = await world.userLeaf()
  const tunnel = await world.dial({ leaf, purpose: 'user' })
  const jws = await world.route([id], { resource: APP, service: 'app' })
  const stream = await world.open({ leaf, tunnel }, [id], jws, APP)
  const route = await checkRoute(jws, {
    cluster: CLUSTER,
    keys: [world.policyCa.publicKey],
    now: systemClock.now(),
  })
  const user = await pems(world.userCa, `spiffe://${CLUSTER}/user/alice`, { roles: ['access'] })
  const profile = {
    ...user,
    hostCas: [toPem(world.hostCa.certificate.raw)],
  } as unknown as StoredProfile
  const signal = AbortSignal.timeout(5_000)
  return openInner({ stream, route, profile, name: APP.name, clock: systemClock, signal })
}

const received = (socket: TLSSocket, bytes: number): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    let got = 0
    socket.on('data', (part: Buffer) => {
      parts.push(part)
      got += part.length
      if (got >= bytes) resolve(Buffer.concat(parts))
    })
    socket.on('error', reject)
    socket.resume()
  })

// Attack: a proxy that was broken into reads everything that passes through it.
test('not one byte of an app’s traffic is readable at the proxy', async () => {
  const id = world.agentId()
  await agent(await pems(world.hostCa, agentUri(CLUSTER, id, 'app')), id)
  const socket = await reach(id)
  const marker = randomBytes(24)
  const sent = Buffer.concat(Array<Buffer>(500).fill(marker))
  const back = received(socket, sent.length)
  socket.write(sent)
  expect((await back).equals(sent)).toBe(true)
  socket.destroy()
  const seen = Buffer.concat(world.wire)
  expect(seen.length).toBeGreaterThan(2 * sent.length)
  expect(seen.includes(marker)).toBe(false)
  expect(seen.includes('"kind":"app","name"')).toBe(false)
})

test('the tap of the test before sees what is not encrypted', async () => {
  const id = world.agentId()
  await world.dial({
    leaf: await world.agentLeaf(id),
    onOpen: (stream) => stream.refuse('ERR_ACCESS_DENIED', 'a-marker-in-the-clear'),
  })
  const leaf = await world.userLeaf()
  const tunnel = await world.dial({ leaf, purpose: 'user' })
  await failure(() => world.open({ leaf, tunnel }, [id]))
  expect(Buffer.concat(world.wire).includes('a-marker-in-the-clear')).toBe(true)
})

test('the agent hears the resource’s name inside TLS, and what it refuses with arrives', async () => {
  const id = world.agentId()
  const refusal = encodeInnerAnswer(innerRefusal(new AppError('ERR_UPSTREAM_UNREACHABLE', 'down')))
  const asked = await agent(await pems(world.hostCa, agentUri(CLUSTER, id, 'app')), id, refusal)
  await expect(reach(id)).rejects.toMatchObject({
    code: 'ERR_UPSTREAM_UNREACHABLE',
    message: 'down',
  })
  expect(asked).toEqual([{ v: 1, kind: 'app', name: 'grafana' }])
})

// Attack: the proxy hands the stream to somebody else who holds a real certificate of the cluster.
test.each<[string, (id: AgentId) => Promise<Awaited<ReturnType<typeof pems>>>]>([
  ['another agent', () => pems(world.hostCa, agentUri(CLUSTER, world.agentId(), 'app'))],
  ['another service of the same agent', (id) => pems(world.hostCa, agentUri(CLUSTER, id, 'ssh'))],
  ['a proxy', () => pems(world.hostCa, `spiffe://${CLUSTER}/proxy/px_01jd00000000000000000000pp`)],
  ['a user', () => pems(world.userCa, `spiffe://${CLUSTER}/user/bob`)],
  ['the same agent of another cluster', (id) => pems(world.hostCa, agentUri('other', id, 'app'))],
  ['the agent’s name under the user CA', (id) => pems(world.userCa, agentUri(CLUSTER, id, 'app'))],
])('%s at the other end is refused before a byte is sent', async (_, make) => {
  const id = world.agentId()
  const asked = await agent(await make(id), id)
  expect((await failure(() => reach(id)))?.code).toBe('ERR_CERT_INVALID')
  expect(asked).toEqual([])
})
