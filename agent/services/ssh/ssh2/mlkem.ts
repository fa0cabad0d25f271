/**
 * Key exchange mlkem768x25519-sha256 (draft-ietf-sshm-mlkem-hybrid-kex), without which OpenSSH 10 warns its users.
 *
 * We offer the name; when the client's first choice among ours is it, ssh2 is given a KEXINIT that says curve25519-sha256, and
 * three methods of the exchange it then builds are replaced. The original KEXINIT goes back into the exchange hash.
 */
import { createHash, createPublicKey, diffieHellman, generateKeyPairSync } from 'node:crypto'
import { ml_kem768 } from '@noble/post-quantum/ml-kem.js'
import type { Connection } from 'ssh2'
import handlers from 'ssh2/lib/protocol/handlers.js'
import kexModule from 'ssh2/lib/protocol/kex.js'
import { internalsOf, MESSAGE, type ProtocolInternals } from './internals.ts'
import { readString, string } from './wire.ts'

const NAME = 'mlkem768x25519-sha256'
const STAND_IN = 'curve25519-sha256'
const ENCAPSULATION_KEY = 1184
const X25519_SPKI = Buffer.from('302a300506032b656e032100', 'hex')
/** KEXINIT: type, 16 bytes of cookie, then the name-lists. */
const LISTS_AT = 17

const enabled = new WeakSet<object>()

/** The KEXINIT with the stand-in as its only choice, or undefined when another exchange is to be used. */
function standIn(protocol: ProtocolInternals, payload: Buffer): Buffer | undefined {
  const list = readString(payload, LISTS_AT)
  if (!list) return undefined
  const names = list.value.toString('latin1').split(',')
  const ours = protocol._offer.lists.kex.array
  if (names.find((name) => ours.includes(name) && !name.startsWith('kex-strict')) !== NAME)
    return undefined
  const flags = names.filter((name) => name === 'ext-info-c' || name.startsWith('kex-strict-c'))
  const kept = string([STAND_IN, ...flags].join(','))
  return Buffer.concat([payload.subarray(0, LISTS_AT), kept, payload.subarray(list.next)])
}

interface Reply {
  readonly message: Buffer
  readonly secret: Buffer
}

/** Our half: C_INIT is an ML-KEM encapsulation key and an X25519 share. Throws for anything else. */
function respond(init: Buffer): Reply {
  if (init.length !== ENCAPSULATION_KEY + 32) throw new Error('C_INIT has the wrong length')
  const { cipherText, sharedSecret } = ml_kem768.encapsulate(
    new Uint8Array(init.subarray(0, ENCAPSULATION_KEY)),
  )
  const ours = generateKeyPairSync('x25519')
  const theirs = createPublicKey({
    key: Buffer.concat([X25519_SPKI, init.subarray(ENCAPSULATION_KEY)]),
    type: 'spki',
    format: 'der',
  })
  const shared = diffieHellman({ privateKey: ours.privateKey, publicKey: theirs })
  const share = ours.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)
  return {
    message: Buffer.concat([cipherText, share]),
    secret: createHash('sha256').update(sharedSecret).update(shared).digest(),
  }
}

function adopt(protocol: ProtocolInternals, original: Buffer): void {
  const kex = protocol._kex
  if (kex?.type !== '25519') return
  kex._remoteKexinit = original
  kex.negotiated.kex = NAME
  let message: Buffer | undefined
  kex.convertPublicKey = (key) => key
  kex.getPublicKey = () => message
  kex.computeSecret = (init) => {
    try {
      const reply = respond(init)
      message = reply.message
      return reply.secret
    } catch (e) {
      return e instanceof Error ? e : new Error(String(e))
    }
  }
}

type Handler = (protocol: ProtocolInternals, payload: Buffer) => unknown
const wrapped =
  (next: Handler): Handler =>
  (protocol, payload) => {
    const changed = enabled.has(protocol) ? standIn(protocol, payload) : undefined
    if (!changed) return next(protocol, payload)
    const original = Buffer.from(payload)
    const result = next(protocol, changed)
    adopt(protocol, original)
    return result
  }

// Rekeys come through the table of message handlers, which all connections of a process share.
const onRekey = kexModule.HANDLERS[MESSAGE.kexinit]
if (onRekey) handlers[MESSAGE.kexinit] = wrapped(onRekey as Handler)

/** To be called on 'connection': before our KEXINIT is written. */
export function installMlkem(client: Connection): void {
  const protocol = internalsOf(client)._protocol
  const { kex, serverHostKey, cs, sc } = protocol._offer.lists
  const direction = (d: typeof cs) => ({
    cipher: d.cipher.array,
    mac: d.mac.array,
    compress: d.compress.array,
    lang: [],
  })
  protocol._offer = new kexModule.KexInit({
    kex: [NAME, ...kex.array],
    serverHostKey: serverHostKey.array,
    cs: direction(cs),
    sc: direction(sc),
  }) as ProtocolInternals['_offer']
  enabled.add(protocol)
  const decipher = protocol._decipher
  const first = decipher._onPayload.bind(decipher)
  const onFirst = wrapped((_protocol, payload) => first(payload))
  decipher._onPayload = (payload) =>
    payload[0] === MESSAGE.kexinit ? onFirst(protocol, payload) : first(payload)
}

/** Runs the exchange once against itself, so that a waiting process has it compiled when the first client comes. */
export function warmUp(): void {
  const { publicKey } = ml_kem768.keygen()
  const share = generateKeyPairSync('x25519').publicKey.export({ type: 'spki', format: 'der' })
  respond(Buffer.concat([publicKey, share.subarray(-32)]))
}
