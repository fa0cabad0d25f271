/** The frames of RFC 6455 section 5.2: numbers and the header writer. No sockets, no state. */

export const CONTINUATION = 0
export const TEXT = 1
export const BINARY = 2
/** Opcodes from here on are control frames. */
export const CLOSE = 8
export const PING = 9
export const PONG = 10

/** May this code be in a close frame (section 7.4)? */
export const isCloseCode = (code: number): boolean =>
  (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) ||
  (code >= 3000 && code <= 4999)

/** Bytes that `writeHeader` will write for a payload of this length. */
export const headerLength = (length: number, masked: boolean): number =>
  (length < 126 ? 2 : length < 65_536 ? 4 : 10) + (masked ? 4 : 0)

/** Writes the header of a whole message to the start of `into`; the answer is its length. A client gives a mask. */
export function writeHeader(
  into: Buffer,
  opcode: number,
  length: number,
  mask: Buffer | undefined,
): number {
  const masked = mask ? 0x80 : 0
  into[0] = 0x80 | opcode
  let at = 2
  if (length < 126) into[1] = masked | length
  else if (length < 65_536) {
    into[1] = masked | 126
    at = into.writeUInt16BE(length, 2)
  } else {
    into[1] = masked | 127
    into.writeUInt32BE(Math.floor(length / 2 ** 32), 2)
    at = into.writeUInt32BE(length >>> 0, 6)
  }
  if (mask) at += mask.copy(into, at)
  return at
}
