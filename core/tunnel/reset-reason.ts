/**
 * The payload of RESET: why a stream was refused or dropped, as a code of ERRORS and a message that the peer may show.
 * What comes in is the peer's word: an unknown code becomes ERR_STREAM_RESET and control characters are taken out, so that
 * a hostile peer cannot write escape sequences to somebody's terminal.
 */
import { AppError, ERRORS, type ErrorCode } from '../errors.ts'

/** `<code> NUL <message in UTF-8>`; a message that does not fit is cut at a character. */
export function encodeReset(code: ErrorCode, message: string | undefined, max: number): Buffer {
  const head = Buffer.from(`${code}\0`, 'latin1')
  let text = Buffer.from(message ?? '', 'utf8')
  const room = Math.max(0, max - head.length)
  if (text.length > room) {
    let end = room
    // 0b10xxxxxx continues a character: step back to where it starts (RFC 3629 section 3).
    while (end > 0 && ((text[end] ?? 0) & 0xc0) === 0x80) end--
    text = text.subarray(0, end)
  }
  return Buffer.concat([head, text])
}

/** Never throws. */
export function decodeReset(payload: Buffer): AppError {
  const nul = payload.indexOf(0)
  const code = payload.toString('latin1', 0, nul < 0 ? payload.length : nul)
  const message = nul < 0 ? '' : printable(payload.toString('utf8', nul + 1))
  const known: ErrorCode = isErrorCode(code) ? code : 'ERR_STREAM_RESET'
  return new AppError(known, message === '' ? undefined : message)
}

export const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(ERRORS, text)

/** Text of a peer without control characters, C1 and bidirectional overrides included. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, ' ')
}
