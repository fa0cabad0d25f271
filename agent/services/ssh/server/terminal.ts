/** A program on a terminal: everything it wrote arrives, then how it ended. */
import { readSync } from 'node:fs'
import { ReadStream } from 'node:tty'
import type { Clock } from '../../../../core/clock.ts'
import type { Started } from '../helper-client.ts'
import type { ChannelInternals } from '../ssh2/internals.ts'
import { exitCode, finish, hangUp } from './pipes.ts'

const CHUNK = 64 * 1024

export function attachTerminal(
  channel: ChannelInternals,
  program: Started,
  clock: Clock,
  ended: (code: number) => void,
): void {
  const [fd = -1] = program.fds
  const master = new ReadStream(fd)
  let closed = false
  master.on('error', () => undefined)
  master.pipe(channel, { end: false })
  channel.pipe(master, { end: false })
  channel.on('close', () => {
    closed = true
    // Closing the master hangs up the foreground group; the session's own group may be another.
    master.destroy()
    hangUp(program, clock)
  })
  void program.exited.then((exit) => {
    ended(exitCode(exit))
    if (!closed) drain(master, fd, channel)
    program.release()
    finish(channel, exit)
  })
}

/**
 * What the stream has read but not passed on, then what the kernel still holds: at most some 64 KiB. The helper keeps the
 * slave open until it is told, because without slaves the event loop takes a short read for the end.
 */
function drain(master: ReadStream, fd: number, channel: ChannelInternals): void {
  master.unpipe(channel)
  for (;;) {
    const chunk = master.read() as Buffer | null
    if (chunk === null) break
    channel.write(chunk)
  }
  // The helper has gone, and with it the last slave: the stream has closed the descriptor, whose number is somebody else's by now.
  if (master.destroyed) return
  const buffer = Buffer.allocUnsafe(CHUNK)
  for (;;) {
    let length: number
    try {
      length = readSync(fd, buffer)
    } catch {
      break
    }
    if (length === 0) break
    channel.write(Buffer.from(buffer.subarray(0, length)))
  }
  master.destroy()
}
