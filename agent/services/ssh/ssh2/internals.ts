/**
 * The private parts of ssh2 1.17.0 that its workarounds need, described once. The version is pinned exactly: whoever moves it
 * reads this file against the new sources and runs the tests of this folder.
 */
import type { EventEmitter } from 'node:events'
import type { Duplex, Writable } from 'node:stream'
import type { Connection, ParsedKey } from 'ssh2'

export interface KexState {
  readonly type?: string
  negotiated: { serverHostKey: string; kex: string }
  sessionID: Buffer
  remoteExtInfoEnabled?: boolean
  _remoteKexinit?: Buffer
  convertPublicKey?: (key: Buffer) => Buffer
  getPublicKey?: () => Buffer | undefined
  computeSecret?: (init: Buffer) => Buffer | Error
}

interface NameList {
  readonly array: readonly string[]
}
interface Direction {
  readonly cipher: NameList
  readonly mac: NameList
  readonly compress: NameList
}
export interface Offer {
  readonly lists: {
    readonly kex: NameList
    readonly serverHostKey: NameList
    readonly cs: Direction
    readonly sc: Direction
  }
}

export interface ChannelOpen {
  readonly type: string
  readonly sender: number
  readonly window: number
  readonly packetSize: number
  readonly data: unknown
}
export interface ChannelConfirm {
  readonly recipient: number
  readonly sender: number
  readonly window: number
  readonly packetSize: number
}

/** Message handlers of one connection; `protocol` is passed through untouched. */
export interface Handlers {
  CHANNEL_OPEN(protocol: unknown, info: ChannelOpen): void
  CHANNEL_OPEN_CONFIRMATION(protocol: unknown, info: ChannelConfirm): void
  CHANNEL_DATA(protocol: unknown, recipient: number, data: Buffer): void
  CHANNEL_EOF(protocol: unknown, recipient: number): void
  CHANNEL_WINDOW_ADJUST(protocol: unknown, recipient: number, amount: number): void
  CHANNEL_REQUEST(
    protocol: unknown,
    recipient: number,
    type: string,
    wantReply: boolean,
    data: unknown,
  ): void
  USERAUTH_REQUEST(
    protocol: unknown,
    user: string,
    service: string,
    method: string,
    data: unknown,
  ): void
  GLOBAL_REQUEST(protocol: unknown, name: string, wantReply: boolean, data: unknown): void
}

/** What encrypts packets. The fields with an underscore are those of ssh2's own class for AES-GCM, without its native part. */
export interface PacketCipher {
  outSeqno: number
  readonly _encSSLName?: string
  readonly _encKey?: Buffer
  readonly _encIV?: Buffer
  allocPacket(payload: number): Buffer
  encrypt(packet: Buffer): void
  free(): void
}
export interface PacketDecipher {
  inSeqno: number
  readonly _decipherSSLName?: string
  readonly _decipherKey?: Buffer
  readonly _decipherIV?: Buffer
  _onPayload(payload: Buffer): unknown
  decrypt(data: Buffer, from: number, end: number): number | undefined
  free(): void
}

export interface ProtocolInternals {
  _kex: KexState | undefined
  _kexinit: unknown
  _offer: Offer
  _hostKeys: Record<string, ParsedKey>
  _handlers: Handlers
  _destruct: unknown
  _authsQueue: string[]
  _decipher: PacketDecipher
  _cipher: PacketCipher
  readonly _packetRW: {
    readonly write: {
      readonly allocStart: number
      alloc(size: number): Buffer
      finalize(packet: Buffer): Buffer
    }
  }
  channelOpenFail(remote: number, reason: number, text: string): void
  disconnect(reason: number): void
  openssh_authAgent(id: number, window: number, packetSize: number): void
}

export interface ChannelManager {
  _count: number
  add(value?: unknown): number
  get(id: number): unknown
  remove(id: number): void
}

export interface ClientInternals extends EventEmitter {
  readonly _protocol: ProtocolInternals
  readonly _sock: Duplex
  readonly _chanMgr: ChannelManager
  noMoreSessions: boolean
}

type WriteCallback = (error?: Error | null) => void
export type Write = (
  this: unknown,
  data: Buffer,
  encoding: BufferEncoding | null,
  done: WriteCallback,
) => void

export interface ChannelInternals extends Duplex {
  readonly _client: ClientInternals
  readonly incoming: { id: number; window: number; state: string }
  readonly outgoing: { id: number; window: number; packetSize: number; state: string }
  readonly stderr: Writable & { _write: Write }
  _write: Write
  _chunk: Buffer | undefined
  _chunkcb: WriteCallback | undefined
  _chunkErr: Buffer | undefined
  _chunkcbErr: WriteCallback | undefined
  writable: boolean
  eof(): void
  close(): void
  exit(status: number): void
  exit(signal: string, coreDumped: boolean, message: string): void
}

export const internalsOf = (client: Connection): ClientInternals =>
  client as unknown as ClientInternals

/** Sends one message outside any of ssh2's own methods. Not to be called during a key exchange. */
export function sendPayload(protocol: ProtocolInternals, payload: Buffer): void {
  const { write } = protocol._packetRW
  const start = write.allocStart
  const packet = write.alloc(payload.length)
  packet.set(payload, start)
  protocol._cipher.encrypt(write.finalize(packet))
}

export const MESSAGE = {
  disconnect: 1,
  extInfo: 7,
  kexinit: 20,
  userauthBanner: 53,
  channelRequest: 98,
} as const

export const DISCONNECT = { protocolError: 2, byApplication: 11, noMoreAuthMethods: 14 } as const

/** RFC 4254 section 5.1. */
export const OPEN_FAILURE = {
  prohibited: 1,
  connectFailed: 2,
  unknownType: 3,
  shortage: 4,
} as const
