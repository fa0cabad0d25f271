/** The frames of SPEC.md section 3: numbers, the header writer, and the shape of a decoded frame. No sockets, no state. */

/** First byte of every frame: the layout of the header, not the version of the protocol. */
export const FRAME_LAYOUT = 1
export const HEADER_BYTES = 12

export const DATA = 0
export const WINDOW = 1
export const PING = 2
export const GOAWAY = 3
export const OPEN = 4
export const OPENED = 5
export const RESET = 6
/** Types from here on are optional: a receiver that does not know one skips its payload. */
export const OPTIONAL_TYPES = 0x80

/** DATA: the last of this direction. */
export const FIN = 1
/** PING: the answer. */
export const REPLY = 1

/** Highest stream id; a session that used them all must be replaced. */
export const MAX_STREAM_ID = 0xffff_ffff
/** Credit a stream may hold; more is an overflow attempt. */
export const MAX_CREDIT = 0xffff_ffff

export type ControlFrame =
  | { readonly type: 'window'; readonly id: number; readonly credit: number }
  | { readonly type: 'ping'; readonly reply: boolean; readonly token: number }
  | { readonly type: 'goaway'; readonly comeBackMs: number }
  | { readonly type: 'open'; readonly id: number; readonly payload: Buffer }
  | { readonly type: 'opened'; readonly id: number; readonly payload: Buffer }
  | { readonly type: 'reset'; readonly id: number; readonly payload: Buffer }

/**
 * One header. `value` is the payload's length for DATA, OPEN, OPENED and RESET, and the value itself for the frames that
 * have no payload (credit, ping token, milliseconds).
 */
export function header(type: number, flags: number, id: number, value: number): Buffer {
  const b = Buffer.allocUnsafe(HEADER_BYTES)
  b[0] = FRAME_LAYOUT
  b[1] = type
  b[2] = 0
  b[3] = flags
  b[4] = id >>> 24
  b[5] = id >>> 16
  b[6] = id >>> 8
  b[7] = id
  b[8] = value >>> 24
  b[9] = value >>> 16
  b[10] = value >>> 8
  b[11] = value
  return b
}

/** A frame with its payload, as the buffers to write. */
export function withPayload(type: number, id: number, payload: Buffer): readonly Buffer[] {
  const head = header(type, 0, id, payload.length)
  return payload.length === 0 ? [head] : [head, payload]
}
