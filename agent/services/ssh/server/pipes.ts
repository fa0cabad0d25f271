/** A program on pipes: stdin, stdout and stderr of a session channel, complete, with the exit code or the signal. */
import { Socket } from 'node:net'
import { constants } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import type { Session } from 'ssh2'
import type { Clock } from '../../../../core/clock.ts'
import { LIMITS } from '../../../../core/limits.ts'
import { giveSlab, takeSlab } from '../../../../core/tunnel/slabs.ts'
import { readInto } from '../../../../net/read-into.ts'
import type { ProgramExit, Started } from '../helper-client.ts'
import type { ChannelInternals } from '../ssh2/internals.ts'

/** Bytes of a program's output that wait for the channel; above it the program has to wait too. */
const PUMP_HIGH = 128 * 1024

export function attachPipes(
  channel: ChannelInternals,
  session: Session,
  program: Started,
  clock: Clock,
  ended: (code: number) => void,
): void {
  const [stdinFd = -1, stdoutFd = -1, stderrFd = -1] = program.fds
  const stdin = new Socket({ fd: stdinFd, readable: false, writable: true })
  const stdout = new Socket({ fd: stdoutFd, readable: true, writable: false })
  const stderr = new Socket({ fd: stderrFd, readable: true, writable: false })
  // A program that reads no more input must not stop the rest.
  stdin.on('error', () => {
    channel.unpipe(stdin)
    channel.resume()
  })
  channel.pipe(stdin)
  pump(stdout, channel)
  pump(stderr, channel.stderr)
  // The client's reader has gone: so must the program's stdout, or it would write for ever.
  ;(session as unknown as NodeJS.EventEmitter).on('eow', () => {
    stdout.destroy()
  })
  channel.on('close', () => {
    stdin.destroy()
    stdout.destroy()
    stderr.destroy()
    hangUp(program, clock)
  })
  void Promise.all([program.exited, closed(stdout), closed(stderr)]).then(([exit]) => {
    ended(exitCode(exit))
    finish(channel, exit)
  })
}

/** As `pipe`, without the end, and with memory that is used again: a new buffer for each read is most of what is collected. */
function pump(source: Socket, channel: Writable): void {
  let waiting = 0
  readInto(source, (bytes) => {
    const slab = takeSlab()
    const n = bytes.copy(slab)
    waiting += n
    if (waiting >= PUMP_HIGH) source.pause()
    channel.write(slab.subarray(0, n), () => {
      giveSlab(slab)
      waiting -= n
      if (waiting < PUMP_HIGH) source.resume()
    })
  })
}

const closed = (stream: Readable): Promise<void> =>
  new Promise((resolve) => {
    stream.on('error', () => undefined)
    stream.on('close', resolve)
  })

/** As shells count deaths by signal. */
export const exitCode = (exit: ProgramExit): number =>
  'code' in exit ? exit.code : 128 + exit.signal

/** Ends the program's process group: SIGHUP, and SIGKILL for what stays. */
export function hangUp(program: Started, clock: Clock): void {
  program.signal(constants.signals.SIGHUP)
  const kill = clock.after(LIMITS.sshHangupGrace.value, () =>
    program.signal(constants.signals.SIGKILL),
  )
  void program.exited.then(() => kill.cancel())
}

const SIGNAL_NAMES = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name.replace('SIG', '')]),
)

/** Sends what is left, then how it ended, then closes. */
export function finish(channel: ChannelInternals, exit: ProgramExit): void {
  channel.stderr.end(() => {
    channel.write(Buffer.alloc(0), () => {
      if ('code' in exit) channel.exit(exit.code)
      else channel.exit(SIGNAL_NAMES.get(exit.signal) ?? 'TERM', false, '')
      channel.end()
    })
  })
}
