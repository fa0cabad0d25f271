/**
 * Channels of ssh2 that lose no data, obey the socket's backpressure and can be closed in one direction. Defects of 1.17.0:
 * (1) pending chunks are never cleared, so data is sent twice or stalls when stdout and stderr both wait for the window;
 * (2) the result of socket.write() is ignored, so a client with a huge window that stops reading fills our memory;
 * (3) a server channel sends CLOSE right after EOF, so a half-closed forward loses what comes back.
 */
import type { Duplex } from 'node:stream'
import { LIMITS } from '../../../../core/limits.ts'
import type { ChannelInternals, Write } from './internals.ts'

/** Repairs (1) and (2). Every channel goes through here first. */
export function repairChannel(raw: unknown): ChannelInternals {
  const channel = raw as ChannelInternals
  const write: Write = channel._write.bind(channel)
  const writeErr: Write = channel.stderr._write.bind(channel.stderr)
  const socket = channel._client._sock
  const whenCalm = (go: () => void): void => {
    if (socket.writableLength > LIMITS.sshSocketBuffer.value && !socket.destroyed)
      socket.once('drain', go)
    else go()
  }
  channel._write = function (data: Buffer, encoding, done) {
    channel._client.emit('activity')
    channel._chunk = channel._chunkcb = undefined
    write(data, encoding, () =>
      whenCalm(() => {
        // ssh2 wakes only one of the two when the window opens.
        const { _chunkErr: chunk, _chunkcbErr: callback } = channel
        if (chunk && callback) channel.stderr._write(chunk, null, callback)
        done()
      }),
    )
  }
  channel.stderr._write = function (data: Buffer, encoding, done) {
    channel._chunkErr = channel._chunkcbErr = undefined
    writeErr(data, encoding, () => whenCalm(done))
  }
  return channel
}

/** Repairs (3): EOF goes out when we end, CLOSE only when both directions have ended. */
export function halfClosable(raw: unknown): ChannelInternals {
  const channel = repairChannel(raw)
  channel.removeAllListeners('finish').removeAllListeners('prefinish')
  let received = false
  let sent = false
  const closeWhenBoth = (): void => {
    if (received && sent) channel.close()
  }
  channel.on('end', () => {
    received = true
    closeWhenBoth()
  })
  channel.on('finish', () => {
    channel.eof()
    channel.writable = false
    sent = true
    closeWhenBoth()
  })
  return channel
}

/** Joins a forwarded socket and its channel, half-close kept. Tells `done` how many bytes went each way. */
export function join(
  socket: Duplex,
  raw: unknown,
  done: (bytes: { readonly in: number; readonly out: number }) => void,
): void {
  const channel = halfClosable(raw)
  let received = 0
  let sent = 0
  channel.on('data', (chunk: Buffer) => (received += chunk.length))
  socket.on('data', (chunk: Buffer) => (sent += chunk.length))
  socket.pipe(channel)
  channel.pipe(socket)
  socket.on('error', () => channel.close())
  socket.on('close', () => {
    if (!socket.readableEnded) channel.close()
  })
  channel.on('error', () => socket.destroy())
  channel.on('close', () => {
    // A pending write of a closed channel is never called back: the source is cut here instead.
    if (socket.writableEnded && socket.readableEnded) return done({ in: received, out: sent })
    socket.destroy()
    done({ in: received, out: sent })
  })
}
