/**
 * The first exchange inside the end-to-end TLS of an app stream (protocols.md 5.2). The user's side names the resource here,
 * where the proxy cannot read or change it; the agent decides on this name and never on the one in OPEN.
 *
 * Both messages are a frame: `u32 length (big endian)` and that many bytes of JSON, at most 4096.
 *   user → agent   {"v":1,"kind":"app","name":"grafana"}
 *   agent → user   {"v":1,"ok":true}   or   {"v":1,"ok":false,"code":"ERR_ACCESS_DENIED","message":"…"}, then the end
 * After `ok` the TLS stream carries the resource's own bytes, half-close included. Bytes that follow a frame belong to what
 * comes next. Inside TLS: version 1.3, ALPN `postern-app.v1`, no resumption, no early data, a user certificate.
 */
import type { Readable } from 'node:stream'
import * as z from 'zod'
import { AppError, ERRORS, toAppError, type ErrorCode } from '../errors.ts'
import { resourceName } from '../domain/name.ts'
import { parse } from '../parse.ts'

export const INNER_ALPN = 'postern-app.v1'
/** Bytes of the JSON in one frame. */
export const INNER_FRAME_MAX = 4096

const hello = z.strictObject({ v: z.literal(1), kind: z.literal('app'), name: resourceName })
export type InnerHello = z.output<typeof hello>

const answer = z.discriminatedUnion('ok', [
  z.strictObject({ v: z.literal(1), ok: z.literal(true) }),
  z.strictObject({
    v: z.literal(1),
    ok: z.literal(false),
    code: z.string().max(64),
    message: z.string().max(1024),
  }),
])
export type InnerAnswer = z.output<typeof answer>

function frame(value: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(value), 'utf8')
  if (json.length > INNER_FRAME_MAX)
    throw new AppError('ERR_INPUT_TOO_LARGE', 'the inner frame is too large')
  const out = Buffer.alloc(4 + json.length)
  out.writeUInt32BE(json.length)
  json.copy(out, 4)
  return out
}

export const encodeInnerHello = (name: string): Buffer =>
  frame({ v: 1, kind: 'app', name } satisfies InnerHello)

export const encodeInnerAnswer = (value: InnerAnswer): Buffer => frame(value)
export const innerRefusal = (error: AppError): InnerAnswer => ({
  v: 1,
  ok: false,
  code: error.code,
  message: error.message.slice(0, 1024),
})

/**
 * Takes one frame off the front of `bytes`. `undefined`: more bytes are needed. Throws ERR_INPUT_TOO_LARGE as soon as the
 * length is known to be too large, ERR_INPUT_INVALID when it is not JSON of that shape.
 */
export function takeInnerFrame(bytes: Buffer): { value: unknown; rest: Buffer } | undefined {
  if (bytes.length < 4) return undefined
  const length = bytes.readUInt32BE(0)
  if (length === 0 || length > INNER_FRAME_MAX)
    throw new AppError('ERR_INPUT_TOO_LARGE', 'the inner frame is too large')
  if (bytes.length < 4 + length) return undefined
  try {
    const value: unknown = JSON.parse(bytes.subarray(4, 4 + length).toString('utf8'))
    return { value, rest: bytes.subarray(4 + length) }
  } catch (cause) {
    throw new AppError('ERR_INPUT_INVALID', 'the inner frame is not JSON', { cause })
  }
}

/** Throws ERR_INPUT_INVALID. */
export const parseInnerHello = (value: unknown): InnerHello => parse(hello, value)

/** Returns when the agent said yes; throws what it refused with. */
export function checkInnerAnswer(value: unknown): void {
  const said = parse(answer, value)
  if (said.ok) return
  const code: ErrorCode = Object.hasOwn(ERRORS, said.code)
    ? (said.code as ErrorCode)
    : 'ERR_ACCESS_DENIED'
  throw new AppError(code, said.message)
}

/**
 * Reads exactly one frame from a stream; what follows it is put back and the stream is paused. The caller bounds the time by
 * `signal`. Rejects with ERR_STREAM_RESET when the stream ends first.
 */
export function readInnerFrame(stream: Readable, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let held: Buffer = Buffer.alloc(0)
    const done = (settle: () => void): void => {
      stream.off('data', onData)
      stream.off('end', onEnd)
      stream.off('close', onEnd)
      stream.off('error', onError)
      signal.removeEventListener('abort', onAbort)
      stream.pause()
      settle()
    }
    const onData = (bytes: Buffer): void => {
      held = held.length === 0 ? bytes : Buffer.concat([held, bytes])
      try {
        const taken = takeInnerFrame(held)
        if (!taken) return
        done(() => {
          if (taken.rest.length > 0) stream.unshift(taken.rest)
          resolve(taken.value)
        })
      } catch (e) {
        done(() => reject(toAppError(e)))
      }
    }
    const onEnd = (): void =>
      done(() =>
        reject(new AppError('ERR_STREAM_RESET', 'the stream ended before its first message')),
      )
    const onError = (cause: Error): void =>
      done(() => reject(new AppError('ERR_STREAM_RESET', undefined, { cause })))
    const onAbort = (): void => done(() => reject(toAppError(signal.reason)))
    if (signal.aborted) return onAbort()
    stream.on('end', onEnd)
    stream.on('close', onEnd)
    stream.on('error', onError)
    signal.addEventListener('abort', onAbort, { once: true })
    stream.on('data', onData)
  })
}
