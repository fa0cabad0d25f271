/**
 * Packets under AES-GCM (RFC 5647, as `aes128-gcm@openssh.com` has it) in place of ssh2's own code, which makes a cipher object and
 * two to three buffers for each. Here a packet is written, encrypted and handed on in memory that is used again, as one piece;
 * received ones are decrypted where they lie.
 */
import { randomFillSync } from 'node:crypto'
import type { Connection } from 'ssh2'
import { giveSlab, SLAB_BYTES, takeSlab } from '../../../../core/tunnel/slabs.ts'
import { createGcm, isGcm, TAG_BYTES, type Gcm } from './aes-gcm.ts'
import { internalsOf, type PacketCipher, type PacketDecipher } from './internals.ts'

const LENGTH_BYTES = 4
const BLOCK = 16
const LEAST_PADDING = 4
/** Longest packet with its tag, as ssh2 has it. */
const MOST_BYTES = 35_000
/**
 * Shorter packets get memory of their own: whoever reads slowly holds on to what he was given, and a few bytes must not
 * hold a large piece.
 */
const LARGE = 16 * 1024

/** Padding must not be guessed (RFC 4253 section 6). Drawn in advance: a call for each packet costs as much as its encryption. */
const drawn = Buffer.alloc(4096)
let used = drawn.length
function pad(packet: Buffer, at: number, length: number): void {
  if (used + length > drawn.length) {
    randomFillSync(drawn)
    used = 0
  }
  drawn.copy(packet, at, used, used + length)
  drawn.fill(0, used, (used += length))
}

/** RFC 5647 section 7.1: the last 8 bytes count. */
function countUp(iv: Buffer): void {
  for (let at = iv.length - 1; at >= 4; at--) {
    const next = ((iv[at] ?? 0) + 1) & 0xff
    iv[at] = next
    if (next !== 0) return
  }
}

type Send = (packet: Buffer, sent: () => void) => void

class Sealer implements PacketCipher {
  outSeqno: number
  readonly #gcm: Gcm
  readonly #iv: Buffer
  readonly #send: Send
  #made: { readonly packet: Buffer; readonly whole: Buffer; readonly slab?: Buffer } | undefined
  #dead = false

  constructor(gcm: Gcm, iv: Buffer, seqno: number, send: Send) {
    this.outSeqno = seqno
    this.#gcm = gcm
    this.#iv = Buffer.from(iv)
    this.#send = send
  }

  free(): void {
    this.#dead = true
    this.#gcm.free()
  }

  /** Length, padding, and room for the payload from byte 5; behind it room for the tag. To be encrypted before the next is made. */
  allocPacket(payload: number): Buffer {
    const short = BLOCK - ((1 + payload) % BLOCK)
    const padding = short < LEAST_PADDING ? short + BLOCK : short
    const total = LENGTH_BYTES + 1 + payload + padding
    const bytes = total + TAG_BYTES
    const slab = bytes >= LARGE && bytes <= SLAB_BYTES ? takeSlab() : undefined
    const whole = slab?.subarray(0, bytes) ?? Buffer.allocUnsafeSlow(bytes)
    const packet = whole.subarray(0, total)
    packet.writeUInt32BE(total - LENGTH_BYTES, 0)
    packet[LENGTH_BYTES] = padding
    pad(packet, total - padding, padding)
    this.#made = { packet, whole, ...(slab && { slab }) }
    return packet
  }

  encrypt(packet: Buffer): void {
    if (this.#dead) return
    const made = this.#made
    this.#made = undefined
    // Only what was made here has room for the tag.
    const ours = made?.packet === packet
    const whole = ours ? made.whole : Buffer.concat([packet, Buffer.alloc(TAG_BYTES)])
    const end = packet.length
    const data = whole.subarray(LENGTH_BYTES, end)
    this.#gcm.seal(this.#iv, whole.subarray(0, LENGTH_BYTES), data, data, whole.subarray(end))
    countUp(this.#iv)
    this.outSeqno = (this.outSeqno + 1) >>> 0
    const slab = ours ? made.slab : undefined
    this.#send(whole, () => slab && giveSlab(slab))
  }
}

class Opener implements PacketDecipher {
  inSeqno: number
  _onPayload: (payload: Buffer) => unknown
  readonly #gcm: Gcm
  readonly #iv: Buffer
  readonly #length = Buffer.alloc(LENGTH_BYTES)
  #lengthBytes = 0
  /** The packet and its tag, while they are not all there. */
  #gathered: Buffer | undefined
  #filled = 0
  #dead = false

  constructor(gcm: Gcm, iv: Buffer, from: Pick<PacketDecipher, 'inSeqno' | '_onPayload'>) {
    this.inSeqno = from.inSeqno
    this._onPayload = from._onPayload
    this.#gcm = gcm
    this.#iv = Buffer.from(iv)
  }

  free(): void {
    this.#dead = true
    this.#gcm.free()
  }

  /** Reads `data` from `at`. A number: go on from there, with another decipher perhaps. undefined: all was read. */
  decrypt(data: Buffer, from: number, end: number): number | undefined {
    let at = from
    while (at < end && !this.#dead) {
      while (this.#lengthBytes < LENGTH_BYTES) {
        if (at === end) return undefined
        this.#length[this.#lengthBytes++] = data[at++] ?? 0
      }
      const length = this.#length.readUInt32BE(0)
      const bytes = length + TAG_BYTES
      if (length < BLOCK || length % BLOCK !== 0 || LENGTH_BYTES + bytes > MOST_BYTES)
        throw new Error('Bad packet length')
      let whole: Buffer
      if (!this.#gathered && bytes >= LARGE && end - at >= bytes) {
        whole = data.subarray(at, at + bytes)
        at += bytes
      } else {
        this.#gathered ??= Buffer.allocUnsafeSlow(bytes)
        const taken = data.copy(this.#gathered, this.#filled, at, end)
        at += taken
        this.#filled += taken
        if (this.#filled < bytes) return undefined
        whole = this.#gathered
        this.#gathered = undefined
        this.#filled = 0
      }
      this.#lengthBytes = 0
      const answer = this._onPayload(this.#opened(whole, length))
      if (answer !== undefined) return answer === false ? at : (answer as number)
    }
    return undefined
  }

  #opened(whole: Buffer, length: number): Buffer {
    const packet = whole.subarray(0, length)
    if (!this.#gcm.open(this.#iv, this.#length, packet, whole.subarray(length)))
      throw new Error('Bad packet authentication')
    countUp(this.#iv)
    this.inSeqno = (this.inSeqno + 1) >>> 0
    const padding = packet[0] ?? 0
    if (padding < LEAST_PADDING || padding >= length) throw new Error('Bad packet padding')
    return packet.subarray(1, length - padding)
  }
}

/** ssh2's own object, or ours in its place. */
function sealer(own: PacketCipher, send: Send): PacketCipher {
  const { _encSSLName: name, _encKey: key, _encIV: iv, outSeqno } = own
  if (!isGcm(name) || !key || !iv) return own
  const gcm = createGcm(name, key, 'seal')
  return gcm ? new Sealer(gcm, iv, outSeqno, send) : own
}
function opener(own: PacketDecipher): PacketDecipher {
  const { _decipherSSLName: name, _decipherKey: key, _decipherIV: iv } = own
  if (!isGcm(name) || !key || !iv) return own
  const gcm = createGcm(name, key, 'open')
  return gcm ? new Opener(gcm, iv, own) : own
}

/**
 * To be called on 'connection'. ssh2 makes its ciphers at the end of each key exchange and keeps them in two fields: what it puts there
 * is replaced. Where ssh2 has its native part, and for other ciphers, it stays. Answers what wipes the keys, at the end of the connection.
 */
export function installPackets(client: Connection): () => void {
  const { _protocol: protocol, _sock: socket } = internalsOf(client)
  const send: Send = (packet, sent) => {
    if (socket.writable) socket.write(packet, sent)
    else sent()
  }
  let cipher = protocol._cipher
  let decipher = protocol._decipher
  Object.defineProperties(protocol, {
    _cipher: { get: () => cipher, set: (own: PacketCipher) => (cipher = sealer(own, send)) },
    _decipher: { get: () => decipher, set: (own: PacketDecipher) => (decipher = opener(own)) },
  })
  return () => {
    if (cipher instanceof Sealer) cipher.free()
    if (decipher instanceof Opener) decipher.free()
  }
}
