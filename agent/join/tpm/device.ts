/**
 * The way to a TPM 2.0: a character device of the kernel (`/dev/tpmrm0`), or a unix socket behind which one is emulated. One command
 * at a time, capped and bound in time.
 */
import { open, stat } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { sleep, type Clock } from '../../../core/clock.ts'
import { AppError } from '../../../core/errors.ts'
import { TpmReader, u16, u32 } from '../../../core/join/tpm/wire.ts'
import { LIMITS } from '../../../core/limits.ts'

export interface TpmDevice {
  /** Sends a whole command and answers the whole response. */
  transact(command: Buffer): Promise<Buffer>
  close(): Promise<void>
}

const broken = (message: string, cause?: unknown): AppError =>
  new AppError('ERR_EVIDENCE_MISSING', `TPM: ${message}`, { cause })

/** Tag, size, code: the head of a command and of a response (Part 1, 18). */
const HEAD = 10

async function openCharacterDevice(path: string): Promise<TpmDevice> {
  const file = await open(path, 'r+')
  return {
    async transact(command) {
      await file.write(command)
      const response = Buffer.alloc(LIMITS.tpmResponse.value)
      const { bytesRead } = await file.read(response, 0, response.length, null)
      return response.subarray(0, bytesRead)
    },
    close: () => file.close(),
  }
}

async function openSocket(path: string): Promise<TpmDevice> {
  const socket: Socket = connect(path)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  const chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  let held = Buffer.alloc(0)
  async function read(length: number): Promise<Buffer> {
    while (held.length < length) {
      const next = await chunks.next()
      if (next.done) throw broken('it closed the connection')
      held = Buffer.concat([held, next.value])
    }
    const taken = held.subarray(0, length)
    held = held.subarray(length)
    return taken
  }
  return {
    async transact(command) {
      socket.write(command)
      const head = await read(HEAD)
      const size = head.readUInt32BE(2)
      if (size < HEAD || size > LIMITS.tpmResponse.value) throw broken('a response of no size')
      return size === HEAD ? head : Buffer.concat([head, await read(size - HEAD)])
    },
    async close() {
      socket.destroy()
    },
  }
}

/** Throws ERR_EVIDENCE_MISSING when there is none, or it may not be used. */
export async function openTpmDevice(path: string): Promise<TpmDevice> {
  try {
    const found = await stat(path)
    if (found.isSocket()) return await openSocket(path)
    if (found.isCharacterDevice()) return await openCharacterDevice(path)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw broken(
      code === 'EACCES' || code === 'EPERM'
        ? `${path} may not be used by this user; add it to the group that owns it`
        : `there is none at ${path}`,
      cause,
    )
  }
  throw broken(`${path} is neither a device nor a socket`)
}

export interface Response {
  /** Handle that the command made, where it makes one. */
  readonly handle: number
  /** The parameters. */
  readonly parameters: TpmReader
}

export interface Command {
  readonly code: number
  readonly name: string
  readonly handles: readonly number[]
  /** One for each handle that needs one; none = the command has no authorisation area. */
  readonly auths?: readonly Buffer[]
  readonly parameters: readonly Buffer[]
  readonly makesHandle?: boolean
}

/** Part 2, 6.6.3: yielded, testing itself, not started yet. The same command again is what the TPM asks for. */
const AGAIN: readonly number[] = [0x908, 0x90a, 0x922]
const TRIES = 10
/** ms. */
const PAUSE = 50

async function withDeadline<T>(clock: Clock, late: AppError, work: Promise<T>): Promise<T> {
  let timer: { cancel(): void } | undefined
  const end = new Promise<never>((_, reject) => {
    timer = clock.after(LIMITS.tpmTimeout.value, () => reject(late))
  })
  try {
    return await Promise.race([work, end])
  } finally {
    timer?.cancel()
  }
}

const TAG = { plain: 0x8001, sessions: 0x8002 } as const

/** Runs a command. Throws ERR_EVIDENCE_MISSING naming command and response code, ERR_TIMEOUT when the TPM does not answer. */
export async function run(device: TpmDevice, clock: Clock, command: Command): Promise<Response> {
  const auths = command.auths ? Buffer.concat(command.auths) : undefined
  const body = Buffer.concat([
    ...command.handles.map(u32),
    ...(auths ? [u32(auths.length), auths] : []),
    ...command.parameters,
  ])
  const tag = auths ? TAG.sessions : TAG.plain
  const whole = Buffer.concat([u16(tag), u32(HEAD + body.length), u32(command.code), body])
  const late = new AppError('ERR_TIMEOUT', `TPM: no answer to ${command.name}`)
  for (let attempt = 1; ; attempt++) {
    const answer = await withDeadline(clock, late, device.transact(whole))
    const reader = new TpmReader(answer)
    reader.take(6)
    const code = reader.u32()
    if (code !== 0 && (!AGAIN.includes(code) || attempt === TRIES))
      throw broken(`${command.name} failed with code 0x${code.toString(16)}`)
    if (code === 0) {
      const handle = command.makesHandle ? reader.u32() : 0
      if (auths) reader.u32()
      return { handle, parameters: reader }
    }
    await sleep(clock, PAUSE)
  }
}
