/**
 * What ssh2 lets a peer do and we do not: packets of size nought (upstream report 1504: an endless loop), data beyond the
 * window (1505: unbounded memory), channels, requests and authentication attempts without number. Also two things it
 * cannot do: tell why a channel is refused, and hear that the client reads our output no more.
 */
import type { Connection } from 'ssh2'
import handlers from 'ssh2/lib/protocol/handlers.js'
import { LIMITS } from '../../../../core/limits.ts'
import {
  DISCONNECT,
  internalsOf,
  MESSAGE,
  OPEN_FAILURE,
  sendPayload,
  type ChannelInternals,
  type ProtocolInternals,
} from './internals.ts'
import { readString, string, uint32 } from './wire.ts'

/** Smaller packets than this would turn a little traffic into much work; every client offers 16 KiB or more. */
const MIN_PACKET = 256

export interface Guards {
  /** Refuses a channel with a text that the client shows. `reject` is ssh2's. */
  refuseOpen(reject: () => void, text: string, reason?: number): void
  /** Terminal modes (RFC 4254 section 8) of the newest pty request, opcode to value. ssh2 reads them from the wrong offset. */
  takeTerminalModes(): ReadonlyMap<number, number>
}

const modesOf = new WeakMap<object, ReadonlyMap<number, number>>()

function parseModes(bytes: Buffer): Map<number, number> {
  const modes = new Map<number, number>()
  for (let at = 0; at + 5 <= bytes.length; at += 5) {
    const opcode = bytes[at] ?? 0
    // 0 ends the list; 160 and above are undefined and end it too.
    if (opcode === 0 || opcode >= 160) break
    modes.set(opcode, bytes.readUInt32BE(at + 1))
  }
  return modes
}

/** Takes the encoded modes out of a pty-req before ssh2 parses it. */
function withoutModes(protocol: object, payload: Buffer): Buffer {
  const type = readString(payload, 5)
  if (type?.value.toString('latin1') !== 'pty-req') return payload
  const term = readString(payload, type.next + 1)
  const modesAt = (term?.next ?? payload.length) + 16
  const modes = readString(payload, modesAt)
  if (!modes) return payload
  modesOf.set(protocol, parseModes(modes.value))
  return Buffer.concat([payload.subarray(0, modesAt), string('')])
}

const onChannelRequest = handlers[MESSAGE.channelRequest]
if (onChannelRequest) {
  const next = onChannelRequest as (protocol: ProtocolInternals, payload: Buffer) => unknown
  handlers[MESSAGE.channelRequest] = (protocol: ProtocolInternals, payload: Buffer) =>
    next(protocol, withoutModes(protocol, payload))
}

/** To be called on 'connection'. `violated` is told what the peer did; the connection is then closed. */
export function installGuards(client: Connection, violated: (what: string) => void): Guards {
  const internals = internalsOf(client)
  const { _protocol: protocol, _chanMgr: channels } = internals
  const given = { ...protocol._handlers }
  let requests = 0
  const cut = (what: string): void => {
    violated(what)
    protocol.disconnect(DISCONNECT.protocolError)
    internals._sock.end()
  }
  Object.assign(protocol._handlers, {
    CHANNEL_OPEN(p, info) {
      if (info.packetSize < MIN_PACKET)
        return protocol.channelOpenFail(info.sender, OPEN_FAILURE.shortage, 'packet size too small')
      if (channels._count >= LIMITS.sshChannels.value)
        return protocol.channelOpenFail(info.sender, OPEN_FAILURE.shortage, 'too many channels')
      given.CHANNEL_OPEN(p, info)
    },
    CHANNEL_OPEN_CONFIRMATION(p, info) {
      if (info.packetSize < MIN_PACKET) return cut('a channel with a packet size near nought')
      given.CHANNEL_OPEN_CONFIRMATION(p, info)
    },
    CHANNEL_DATA(p, recipient, data) {
      const channel = dataChannel(channels.get(recipient))
      if (channel && data.length > channel.incoming.window)
        return cut('more data than the window allows')
      internals.emit('activity')
      given.CHANNEL_DATA(p, recipient, data)
    },
    CHANNEL_WINDOW_ADJUST(p, recipient, amount) {
      const channel = dataChannel(channels.get(recipient))
      // RFC 4254 section 5.2: the window never exceeds 2^32 - 1.
      if (channel && channel.outgoing.window + amount > 0xffff_ffff)
        return cut('a window above 4 GiB')
      given.CHANNEL_WINDOW_ADJUST(p, recipient, amount)
    },
    CHANNEL_REQUEST(p, recipient, type, wantReply, data) {
      const channel = channels.get(recipient)
      if (type === 'eow@openssh.com') {
        if (isEmitter(channel)) channel.emit('eow')
        return
      }
      given.CHANNEL_REQUEST(p, recipient, type, wantReply, data)
    },
    USERAUTH_REQUEST(p, user, service, method, data) {
      if (++requests > LIMITS.sshAuthRequests.value) return cut('too many authentication requests')
      given.USERAUTH_REQUEST(p, user, service, method, data)
    },
  } satisfies Partial<ProtocolInternals['_handlers']>)

  let refusal: { readonly text: string; readonly reason: number } | undefined
  const openFail = protocol.channelOpenFail.bind(protocol)
  protocol.channelOpenFail = (remote, reason, text) =>
    openFail(remote, refusal?.reason ?? reason, refusal?.text ?? text)
  return {
    refuseOpen(reject, text, reason = OPEN_FAILURE.prohibited) {
      refusal = { text, reason }
      reject()
      refusal = undefined
    },
    takeTerminalModes() {
      const modes = modesOf.get(protocol) ?? new Map<number, number>()
      modesOf.delete(protocol)
      return modes
    },
  }
}

/** The channel that carries data: of a session it is the one inside, once it was started. */
function dataChannel(entry: unknown): ChannelInternals | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined
  if ('_channel' in entry) return dataChannel(entry._channel)
  return 'incoming' in entry ? (entry as ChannelInternals) : undefined
}

interface Emitter {
  emit(event: string): boolean
}
const isEmitter = (value: unknown): value is Emitter =>
  typeof value === 'object' && value !== null && 'emit' in value

/** A line that the client shows before authentication has ended (RFC 4252 section 5.4). */
export function sendBanner(client: Connection, line: string): void {
  const body = [Buffer.from([MESSAGE.userauthBanner]), string(`${line}\r\n`), uint32(0)]
  sendPayload(internalsOf(client)._protocol, Buffer.concat(body))
}

/** Ends the connection with a line that the client shows. */
export function disconnectWith(client: Connection, line: string): void {
  const { _protocol: protocol, _sock: socket } = internalsOf(client)
  // In the middle of a key exchange only ssh2's own message, which says nothing, may pass.
  if (protocol._kexinit === undefined) {
    const body = [Buffer.from([MESSAGE.disconnect]), uint32(DISCONNECT.byApplication)]
    sendPayload(protocol, Buffer.concat([...body, string(line), string('')]))
  } else protocol.disconnect(DISCONNECT.byApplication)
  socket.end()
}
