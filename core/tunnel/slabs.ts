/**
 * Memory that bytes in transit use again and again. A new 64 KiB buffer for each piece costs more than encrypting it: the
 * garbage collector counts it as pressure and walks the whole heap every few hundred megabytes (docs/adr/0031).
 *
 * A slab holds the bytes of whoever had it before: whoever takes one sends and hands on what it filled and no more.
 */

/** Four full TLS records (RFC 8446 section 5.1), which is also what one system call takes well. */
export const SLAB_BYTES = 64 * 1024
/** Free slabs that are kept; the rest is left to the garbage collector. */
const KEPT = 32

const free: Buffer[] = []

/** Copies shorter than this get memory of their own length: a slab for a keystroke would be a waste. */
export const SLAB_LEAST = 4 * 1024

/** A slab for a message of this many bytes, when it is one that wants a slab. */
export const slabFor = (bytes: number): Buffer | undefined =>
  bytes > SLAB_LEAST && bytes <= SLAB_BYTES ? takeSlab() : undefined

export const takeSlab = (): Buffer => free.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES)

/** Only the whole slab, once, and by who took it. */
export function giveSlab(slab: Buffer): void {
  if (free.length < KEPT) free.push(slab)
}
