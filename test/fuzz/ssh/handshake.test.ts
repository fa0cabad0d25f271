// What anybody can send before an ssh connection is encrypted: the identification, KEXINIT, the key exchange and whatever else, changed,
// to ssh2 as the agent sets it up. Refused or waited for, in a bounded time and memory, and never an exception that nobody expects.
import { createPrivateKey } from 'node:crypto'
import { Duplex } from 'node:stream'
import ssh2, { type Connection } from 'ssh2'
import { expect, test } from 'vitest'
import { installExtInfo } from '../../../agent/services/ssh/ssh2/ext-info.ts'
import { installGuards } from '../../../agent/services/ssh/ssh2/guards.ts'
import { hostCertificateKey } from '../../../agent/services/ssh/ssh2/host-certificate.ts'
import { installMlkem } from '../../../agent/services/ssh/ssh2/mlkem.ts'
import { installPackets } from '../../../agent/services/ssh/ssh2/packets.ts'
import { generateKey } from '../../../core/certs/signer.ts'
import { issueSshCertificate } from '../../../core/certs/ssh-certificate.ts'
import { exportSshPrivateKey } from '../../../core/certs/ssh-private-key.ts'
import { plus } from '../../../core/clock.ts'
import { bounded, boundedTimeout, mutate, type Chance } from '../../support/fuzz-bounds.ts'
import { HOUR, makeCa, NOW } from '../../support/pki.ts'

const ca = await makeCa('host CA')
const host = generateKey('EdDSA')
const certificate = await issueSshCertificate(
  {
    role: 'host',
    publicKey: host.publicKey,
    keyId: 'web-1',
    principals: ['web-1'],
    validAfter: NOW,
    validBefore: plus(NOW, HOUR),
  },
  ca.signer,
)
const hostKey = hostCertificateKey(
  exportSshPrivateKey(createPrivateKey(host.privateKey.export({ type: 'pkcs8', format: 'pem' }))),
  certificate,
)
const server = new ssh2.Server({ hostKeys: [{ key: hostKey.offered as unknown as string }] })
let errors = 0
let finished = 0
server.on('connection', (client: Connection) => {
  hostKey.install(client)
  installMlkem(client)
  const wipe = installPackets(client)
  installExtInfo(client)
  installGuards(client, () => undefined)
  client.on('error', () => void (errors += 1)).on('close', wipe)
  client.on('handshake', () => void (finished += 1))
  client.on('authentication', (attempt) => attempt.reject())
})

/** A client's end whose bytes are read at once, so that what they do is done when the call returns. */
class Wire extends Duplex {
  override _read(): void {}
  override _write(_: unknown, __: unknown, done: () => void): void {
    done()
  }
}

const string = (bytes: Buffer | string): Buffer => {
  const body = Buffer.from(bytes as string)
  const head = Buffer.alloc(4)
  head.writeUInt32BE(body.length)
  return Buffer.concat([head, body])
}
function packet(payload: Buffer): Buffer {
  const padding = 8 - ((5 + payload.length) % 8) + 8
  const head = Buffer.alloc(5)
  head.writeUInt32BE(1 + payload.length + padding)
  head.writeUInt8(padding, 4)
  return Buffer.concat([head, payload, Buffer.alloc(padding)])
}
/** RFC 4253 section 7.1. */
const kexinit = (kex: string): Buffer =>
  Buffer.concat([
    Buffer.from([20]),
    Buffer.alloc(16, 7),
    ...[kex, 'ssh-ed25519-cert-v01@openssh.com,ssh-ed25519', 'aes128-ctr', 'aes128-ctr'].map(
      string,
    ),
    ...['hmac-sha2-256', 'hmac-sha2-256', 'none', 'none', '', ''].map(string),
    Buffer.alloc(5),
  ])
const ident = Buffer.from('SSH-2.0-OpenSSH_9.9\r\n')
const { publicKey } = generateKey('EdDSA')
const point = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)
const after = (kex: string, init: Buffer): Buffer[] => [
  kexinit(kex),
  Buffer.concat([Buffer.from([30]), string(init)]),
  Buffer.from([21]),
]
const flows: readonly (readonly Buffer[])[] = [
  after('curve25519-sha256', point),
  after('mlkem768x25519-sha256', Buffer.concat([Buffer.alloc(1184, 3), point])),
  after('ecdh-sha2-nistp256', Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 1)])),
  [Buffer.concat([Buffer.from([1, 0, 0, 0, 2]), string('bye'), string('')])],
  [Buffer.concat([Buffer.from([2]), string('ignored')])],
  [Buffer.concat([Buffer.from([5]), string('ssh-userauth')])],
]

/** Costs twenty times what the others do, so it comes less often. */
const large = after('diffie-hellman-group14-sha256', Buffer.alloc(256, 2))

/** Mostly one packet is bent and framed rightly, so that it comes past the framing; sometimes the bytes themselves are. */
function made(c: Chance): Buffer {
  const flow = c.below(100) === 0 ? large : c.pick(flows)
  const bent = c.below(flow.length)
  const packets = flow.map((payload, i) => packet(i === bent ? mutate(payload, c) : payload))
  const bytes = Buffer.concat([ident, ...packets])
  return c.below(4) === 0 ? mutate(bytes, c) : bytes
}

test('SSH handshakes: any bytes before encryption', { timeout: boundedTimeout }, async () => {
  await bounded(made, async (input) => {
    const wire = new Wire()
    wire.on('error', () => undefined)
    ;(server as unknown as { injectSocket(socket: Duplex): void }).injectSocket(wire)
    // ssh2 begins to listen in the next turn.
    await new Promise((resolve) => setImmediate(resolve))
    wire.emit('data', input)
    wire.destroy()
  })
  // Many are wrong and refused, and many come to the end of the key exchange.
  expect(errors).toBeGreaterThan(1000)
  expect(finished).toBeGreaterThan(100)
})
