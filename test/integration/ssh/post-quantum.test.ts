/**
 * mlkem768x25519-sha256 against a client of its own, written from the draft: OpenSSH 10 warns when a server lacks it, and the
 * OpenSSH of most machines that run this is too old to have it.
 */
import {
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  randomBytes,
} from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { ml_kem768 } from '@noble/post-quantum/ml-kem.js'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseSshCertificate } from '../../../core/certs/ssh-certificate.ts'
import { verifySshSignature } from '../../../core/certs/ssh-signature.ts'
import { readString, string, uint32 } from '../../../agent/services/ssh/ssh2/wire.ts'
import { NODE, openWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world.close())

const IDENT = 'SSH-2.0-OpenSSH_10.0'
const X25519 = Buffer.from('302a300506032b656e032100', 'hex')

function packet(payload: Buffer): Buffer {
  const padding = 8 - ((5 + payload.length) % 8) + 8
  return Buffer.concat([
    uint32(1 + payload.length + padding),
    Buffer.from([padding]),
    payload,
    Buffer.alloc(padding),
  ])
}

async function* packets(socket: Socket): AsyncGenerator<Buffer, void> {
  let bytes = Buffer.alloc(0)
  let ident = true
  for await (const chunk of socket) {
    bytes = Buffer.concat([bytes, chunk as Buffer])
    if (ident) {
      const end = bytes.indexOf('\r\n')
      if (end < 0) continue
      yield bytes.subarray(0, end)
      bytes = bytes.subarray(end + 2)
      ident = false
    }
    while (bytes.length >= 4 && bytes.length >= 4 + bytes.readUInt32BE(0)) {
      const total = 4 + bytes.readUInt32BE(0)
      yield bytes.subarray(5, total - (bytes[4] ?? 0))
      bytes = bytes.subarray(total)
    }
  }
}

async function handshake(
  keyLength: number,
): Promise<{ offered: string; holds: boolean } | 'refused'> {
  const socket = connect(world.port, '127.0.0.1')
  socket.on('error', () => undefined)
  const from = packets(socket)
  const next = async (): Promise<Buffer | undefined> => (await from.next()).value ?? undefined
  const lists = [
    'mlkem768x25519-sha256',
    'ecdsa-sha2-nistp256-cert-v01@openssh.com',
    ...['aes128-ctr', 'aes128-ctr', 'hmac-sha2-256', 'hmac-sha2-256', 'none', 'none', '', ''],
  ]
  const ours = Buffer.concat([
    Buffer.from([20]),
    randomBytes(16),
    ...lists.map((list) => string(list)),
    Buffer.alloc(5),
  ])
  const kem = ml_kem768.keygen()
  const x = generateKeyPairSync('x25519')
  const share = x.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)
  const init = Buffer.concat([kem.publicKey.subarray(0, keyLength), share])
  socket.write(Buffer.concat([Buffer.from(`${IDENT}\r\n`), packet(ours)]))
  socket.write(packet(Buffer.concat([Buffer.from([30]), string(init)])))
  const ident = (await next()) ?? Buffer.alloc(0)
  const theirs = Buffer.from((await next()) ?? [])
  const reply = await next()
  if (reply?.[0] !== 31) {
    socket.destroy()
    return 'refused'
  }
  const hostKey = readString(reply, 1)
  const share2 = readString(reply, hostKey?.next ?? 0)
  const signature = readString(reply, share2?.next ?? 0)
  if (!hostKey || !share2 || !signature) throw new Error('malformed reply')
  const kemSecret = ml_kem768.decapsulate(share2.value.subarray(0, 1088), kem.secretKey)
  const publicKey = createPublicKey({
    key: Buffer.concat([X25519, share2.value.subarray(1088)]),
    type: 'spki',
    format: 'der',
  })
  const secret = createHash('sha256')
    .update(kemSecret)
    .update(diffieHellman({ privateKey: x.privateKey, publicKey }))
    .digest()
  const hashed = [IDENT, ident, ours, theirs, hostKey.value, init, share2.value, secret]
  const hash = createHash('sha256')
    .update(Buffer.concat(hashed.map((part) => string(part))))
    .digest()
  const certificate = parseSshCertificate(hostKey.value)
  socket.destroy()
  return {
    offered: readString(theirs, 17)?.value.toString().split(',')[0] ?? '',
    holds: verifySshSignature(certificate.publicKey, hash, signature.value),
  }
}

test('the hybrid exchange is offered first, and both sides agree on its hash', async () => {
  expect(await handshake(1184)).toEqual({ offered: 'mlkem768x25519-sha256', holds: true })
})

test('a share of the wrong length ends the connection, and only that', async () => {
  expect(await handshake(1000)).toBe('refused')
  expect((await world.ssh([NODE, 'true'])).code).toBe(0)
})
