/** ssh2 as a client with a user certificate, open to be bent: for what no stock client can be made to send. */
import { createPrivateKey, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Duplex } from 'node:stream'
import ssh2, { type Client } from 'ssh2'
import { string } from '../../../agent/services/ssh/ssh2/wire.ts'
import { parseSshCertificate } from '../../../core/certs/ssh-certificate.ts'
import type { KeyPair } from '../../../core/certs/signer.ts'
import type { World } from './world.ts'

interface Kex {
  sessionID: Buffer
  negotiated: { serverHostKey: string }
  _sig: unknown
  _hostKey: unknown
}
export interface Bent extends Client {
  readonly _sock: Duplex
  readonly _protocol: {
    readonly _kex: Kex
    readonly _authsQueue: string[]
    readonly _cipher: { encrypt(packet: Buffer): void }
    readonly _packetRW: {
      readonly write: {
        readonly allocStart: number
        alloc(size: number): Buffer
        finalize(packet: Buffer): Buffer
      }
    }
    authPK(user: string, key: unknown, algo: unknown, sign?: unknown): void
    session(channel: number, window: number, packet: number): void
    channelData(channel: number, data: Buffer): void
  }
}

const HOST = 'ecdsa-sha2-nistp256-cert-v01@openssh.com'
const USER = 'ssh-ed25519-cert-v01@openssh.com'
const load = createRequire(import.meta.url)
const constants = load('ssh2/lib/protocol/constants.js') as { SUPPORTED_SERVER_HOST_KEY: string[] }
constants.SUPPORTED_SERVER_HOST_KEY.push(HOST)

/** Whoever the server is; its certificate's key is what ssh2 then checks the signature with. */
function believe(client: Bent, blob: Buffer): true {
  const certificate = parseSshCertificate(Buffer.from(blob))
  const kex = client._protocol._kex
  let key: unknown = blob
  let signature = kex._sig
  let plain = false
  Object.defineProperties(kex, {
    _hostKey: {
      get: () => (plain ? certificate.publicKey.blob : key),
      set: (value: unknown) => {
        key = value
        plain = false
      },
    },
    _sig: {
      get: () => {
        plain = true
        return signature
      },
      set: (value: unknown) => (signature = value),
    },
  })
  kex.negotiated.serverHostKey = certificate.publicKey.type
  return true
}

export interface BentOptions {
  readonly username: string
  /** Signs with another key than the certificate's. */
  readonly signer?: KeyPair
  /** Sends the certificate without any signature. */
  readonly unsigned?: boolean
}

/** Resolves when it is logged in; rejects when it is refused. */
export function logIn(world: World, identity: string, options: BentOptions): Promise<Bent> {
  const client = new ssh2.Client() as Bent
  const blob = Buffer.from(
    readFileSync(`${identity}-cert.pub`, 'utf8').split(' ')[1] ?? '',
    'base64',
  )
  const parsed = ssh2.utils.parseKey(readFileSync(identity))
  if (parsed instanceof Error) throw parsed
  const privateKey = options.signer?.privateKey ?? keyOf(identity)
  const key = Object.create(parsed, {
    type: { value: USER },
    getPublicSSH: { value: () => blob },
  }) as never
  const ready = new Promise<Bent>((resolve, reject) => {
    client.once('ready', () => resolve(client))
    client.on('error', reject)
    client.once('close', () => reject(new Error('closed')))
  })
  client.connect({
    host: '127.0.0.1',
    port: world.port,
    username: options.username,
    authHandler: [{ type: 'publickey', username: options.username, key } as never],
    algorithms: { serverHostKey: [HOST as never], kex: ['curve25519-sha256'] },
    hostVerifier: (hostKey: Buffer) => believe(client, hostKey),
  })
  const protocol = client._protocol
  const authPK = protocol.authPK.bind(protocol)
  protocol.authPK = (user, offered, algo, done) => {
    const signs = typeof algo === 'function' || typeof done === 'function'
    if (!signs || options.unsigned) return authPK(user, offered, undefined)
    const fields = ['ssh-connection', 'publickey'].map((text) => string(text))
    const head = Buffer.concat([Buffer.from([50]), string(user), ...fields, Buffer.from([1])])
    const request = Buffer.concat([head, string(USER), string(blob)])
    const signed = Buffer.concat([string(protocol._kex.sessionID), request])
    const signature = [string('ssh-ed25519'), string(sign(null, signed, privateKey))]
    const body = Buffer.concat([request, string(Buffer.concat(signature))])
    const { write } = protocol._packetRW
    const start = write.allocStart
    const packet = write.alloc(body.length)
    packet.set(body, start)
    protocol._authsQueue.push('publickey')
    protocol._cipher.encrypt(write.finalize(packet))
  }
  return ready
}

/** The private key of an identity file. Node reads no OpenSSH format: ssh2 gives its PEM for ed25519 as raw parts. */
function keyOf(identity: string): KeyPair['privateKey'] {
  const file = readFileSync(identity, 'utf8').replace(/-----.*-----|\s/g, '')
  const bytes = Buffer.from(file, 'base64')
  // The private part of an ed25519 key: the string of 64 bytes, seed first, then the public half.
  const marker = Buffer.from([0, 0, 0, 64])
  const at = bytes.lastIndexOf(marker) + marker.length
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex')
  const der = Buffer.concat([prefix, bytes.subarray(at, at + 32)])
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
}
