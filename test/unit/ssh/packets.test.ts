/**
 * Packets under AES-GCM against ssh2's own code (which is node:crypto's) as the peer, both ways and through a change of keys:
 * what ours writes theirs reads, and the reverse, however the bytes are cut.
 */
import { createDecipheriv, randomBytes } from 'node:crypto'
import { Writable } from 'node:stream'
import fc from 'fast-check'
import type { Connection } from 'ssh2'
import ssh2Crypto from 'ssh2/lib/protocol/crypto.js'
import { expect, test } from 'vitest'
import { createGcm } from '../../../agent/services/ssh/ssh2/aes-gcm.ts'
import type { PacketCipher, PacketDecipher } from '../../../agent/services/ssh/ssh2/internals.ts'
import { installPackets } from '../../../agent/services/ssh/ssh2/packets.ts'

const CIPHERS = ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com'] as const
type Name = (typeof CIPHERS)[number]

interface Keys {
  readonly name: Name
  readonly key: Buffer
  readonly iv: Buffer
}
const newKeys = (name: Name): Keys => ({
  name,
  key: randomBytes(name === CIPHERS[0] ? 16 : 32),
  iv: Buffer.concat([randomBytes(4), Buffer.from('fffffffffffffffe', 'hex')]),
})

const cipherOf = (keys: Keys, onWrite: (bytes: Buffer) => void): PacketCipher =>
  ssh2Crypto.createCipher({
    outbound: {
      onWrite,
      seqno: 3,
      cipherInfo: ssh2Crypto.CIPHER_INFO[keys.name],
      cipherKey: Buffer.from(keys.key),
      cipherIV: Buffer.from(keys.iv),
      forceNative: true,
    },
  }) as PacketCipher
const decipherOf = (keys: Keys, onPayload: (payload: Buffer) => unknown): PacketDecipher =>
  ssh2Crypto.createDecipher({
    inbound: {
      onPayload,
      seqno: 3,
      decipherInfo: ssh2Crypto.CIPHER_INFO[keys.name],
      decipherKey: Buffer.from(keys.key),
      decipherIV: Buffer.from(keys.iv),
      forceNative: true,
    },
  }) as PacketDecipher

/** Our side of a connection, with the keys of one exchange. */
function ours(keys: Keys, onPayload: (payload: Buffer) => unknown = () => undefined) {
  const written: Buffer[] = []
  const socket = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written.push(Buffer.from(chunk))
      done()
    },
  })
  const protocol = { _cipher: {} as PacketCipher, _decipher: {} as PacketDecipher }
  const wipe = installPackets({ _protocol: protocol, _sock: socket } as unknown as Connection)
  const rekey = (next: Keys): void => {
    protocol._cipher = cipherOf(next, () => expect.unreachable('ssh2 itself writes nothing'))
    protocol._decipher = decipherOf(next, onPayload)
  }
  rekey(keys)
  return {
    wipe,
    rekey,
    protocol,
    send(payload: Buffer): Buffer {
      send(protocol._cipher, payload)
      return Buffer.concat(written.splice(0))
    },
  }
}
function send(cipher: PacketCipher, payload: Buffer): void {
  const packet = cipher.allocPacket(payload.length)
  packet.set(payload, 5)
  cipher.encrypt(packet)
}

/** Feeds the bytes in pieces that end at `cuts`, as ssh2's parser does; each piece is memory of its own. */
function feed(decipher: () => PacketDecipher, bytes: Buffer, cuts: readonly number[]): void {
  const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  let from = 0
  for (const end of ends) {
    const piece = Buffer.from(bytes.subarray(from, end))
    let at: number | undefined = 0
    while (at !== undefined && at < piece.length) at = decipher().decrypt(piece, at, piece.length)
    from = end
  }
}

/** `toEqual` would look at each byte by itself. */
const same = (read: readonly Buffer[], sent: readonly Uint8Array[]): boolean =>
  read.length === sent.length && read.every((bytes, i) => bytes.equals(sent[i] ?? Buffer.alloc(0)))

const payloads = fc.array(
  fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    fc.integer({ min: 1, max: 32_800 }).map((length) => randomBytes(length)),
  ),
  { minLength: 1, maxLength: 6 },
)

test.each(CIPHERS)('%s: what is sent is what ssh2 reads', (name) => {
  fc.assert(
    fc.property(payloads, (sent) => {
      const keys = newKeys(name)
      const us = ours(keys)
      const read: Buffer[] = []
      const peer = decipherOf(keys, (payload) => void read.push(Buffer.from(payload)))
      for (const payload of sent) feed(() => peer, us.send(Buffer.from(payload)), [])
      expect(same(read, sent)).toBe(true)
      expect(us.protocol._cipher.outSeqno).toBe(3 + sent.length)
      us.wipe()
    }),
    { numRuns: 50 },
  )
})

test.each(CIPHERS)('%s: what ssh2 sends is read, however it is cut', (name) => {
  fc.assert(
    fc.property(payloads, fc.array(fc.nat(), { maxLength: 8 }), (sent, cuts) => {
      const keys = newKeys(name)
      const stream: Buffer[] = []
      const peer = cipherOf(keys, (bytes) => void stream.push(Buffer.from(bytes)))
      for (const payload of sent) send(peer, Buffer.from(payload))
      const read: Buffer[] = []
      // What was read stays as it was: readers keep it.
      const us = ours(keys, (payload) => void read.push(payload))
      feed(() => us.protocol._decipher, Buffer.concat(stream), cuts)
      expect(same(read, sent)).toBe(true)
      us.wipe()
    }),
    { numRuns: 50 },
  )
})

test('keys change between two packets of one piece', () => {
  const [first, second] = [newKeys(CIPHERS[0]), newKeys(CIPHERS[1])]
  const stream: Buffer[] = []
  for (const keys of [first, second])
    send(
      cipherOf(keys, (bytes) => void stream.push(Buffer.from(bytes))),
      Buffer.from(keys.name),
    )
  const read: string[] = []
  const us = ours(first, (payload) => {
    read.push(payload.toString())
    if (read.length > 1) return undefined
    us.rekey(second)
    return false
  })
  feed(() => us.protocol._decipher, Buffer.concat(stream), [])
  expect(read).toEqual([first.name, second.name])
  us.wipe()
})

test('a changed byte is never read, and ends it', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 32_800 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (length, at, change) => {
        const keys = newKeys(CIPHERS[0])
        const bytes = ours(keys).send(randomBytes(length))
        const read: Buffer[] = []
        const us = ours(keys, (payload) => void read.push(payload))
        bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ change
        // A longer length only waits for more; everything else is refused.
        const long = bytes.readUInt32BE(0) > bytes.length - 20
        const refuse = () => feed(() => us.protocol._decipher, bytes, [])
        if (long && bytes.readUInt32BE(0) % 16 === 0 && bytes.readUInt32BE(0) <= 34_980) refuse()
        else expect(refuse).toThrow(/^Bad packet (length|authentication)$/)
        expect(read).toEqual([])
        us.wipe()
      },
    ),
    { numRuns: 100 },
  )
})

test.each([0, 1, 15, 17, 34_992, 0x7fff_fff0, 0xffff_fff0])(
  'a length of %i is refused',
  (length) => {
    const us = ours(newKeys(CIPHERS[0]))
    const bytes = Buffer.alloc(64)
    bytes.writeUInt32BE(length)
    expect(() => feed(() => us.protocol._decipher, bytes, [])).toThrow('Bad packet length')
    us.wipe()
  },
)

test.each([0, 3, 16, 255])('padding of %i in 16 bytes is refused', (padding) => {
  const keys = newKeys(CIPHERS[0])
  const packet = Buffer.alloc(36)
  packet.writeUInt32BE(16)
  const data = packet.subarray(4, 20)
  data[0] = padding
  const gcm = createGcm('aes-128-gcm', keys.key, 'seal')
  gcm?.seal(keys.iv, packet.subarray(0, 4), data, data, packet.subarray(20))
  const us = ours(keys, () => expect.unreachable('it has no payload'))
  expect(() => feed(() => us.protocol._decipher, packet, [])).toThrow('Bad packet padding')
  gcm?.free()
  us.wipe()
})

test('node:crypto opens what is sealed, and no IV serves twice', () => {
  const keys = newKeys(CIPHERS[1])
  const us = ours(keys)
  const iv = Buffer.from(keys.iv)
  for (let i = 0; i < 4; i++) {
    const sent = us.send(Buffer.from(`packet ${i}`))
    const own = createDecipheriv('aes-256-gcm', keys.key, iv).setAAD(sent.subarray(0, 4))
    own.setAuthTag(sent.subarray(-16))
    const plain = Buffer.concat([own.update(sent.subarray(4, -16)), own.final()])
    expect(plain.subarray(1).toString()).toContain(`packet ${i}`)
    // RFC 5647 section 7.1: the last eight bytes count, and the first four stay.
    iv.writeBigUInt64BE(BigInt.asUintN(64, iv.readBigUInt64BE(4) + 1n), 4)
  }
  us.wipe()
})

test('nothing is sent or read once the keys are wiped', () => {
  const keys = newKeys(CIPHERS[0])
  const read: Buffer[] = []
  const us = ours(keys, (payload) => void read.push(payload))
  const bytes = ours(keys).send(Buffer.from('late'))
  us.wipe()
  us.wipe()
  expect(us.send(Buffer.from('late'))).toHaveLength(0)
  feed(() => us.protocol._decipher, bytes, [])
  expect(read).toEqual([])
})
