/**
 * Archives that depend on their contents alone: sorted names, no times, no owners. The format is ustar (POSIX.1-1988), which every tar
 * reads. Packing programs put in who packed when.
 */
import { gzipSync } from 'node:zlib'

export interface Entry {
  /** Relative, `/` between parts, at most 100 bytes. */
  readonly name: string
  readonly bytes: Uint8Array
  readonly executable?: boolean
}

const BLOCK = 512
const octal = (value: number, width: number): string => value.toString(8).padStart(width - 1, '0')

function header(entry: Entry): Buffer {
  const name = Buffer.from(entry.name, 'utf8')
  if (name.length > 100) throw new Error(`${entry.name}: is longer than 100 bytes`)
  const block = Buffer.alloc(BLOCK)
  name.copy(block, 0)
  const put = (text: string, at: number): void => void block.write(`${text}\0`, at, 'latin1')
  put(octal(entry.executable ? 0o755 : 0o644, 8), 100)
  put(octal(0, 8), 108)
  put(octal(0, 8), 116)
  put(octal(entry.bytes.length, 12), 124)
  put(octal(0, 12), 136)
  block.write('        ', 148, 'latin1')
  block.write('0', 156, 'latin1')
  block.write('ustar\0', 257, 'latin1')
  block.write('00', 263, 'latin1')
  let sum = 0
  for (const byte of block) sum += byte
  block.write(`${octal(sum, 7)}\0 `, 148, 'latin1')
  return block
}

export function tar(entries: readonly Entry[]): Buffer {
  const parts: Uint8Array[] = []
  for (const entry of [...entries].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    parts.push(header(entry), entry.bytes)
    const rest = entry.bytes.length % BLOCK
    if (rest > 0) parts.push(Buffer.alloc(BLOCK - rest))
  }
  parts.push(Buffer.alloc(2 * BLOCK))
  return Buffer.concat(parts)
}

/** Node writes neither a name nor a time into the gzip header. */
export const tarGz = (entries: readonly Entry[]): Buffer => gzipSync(tar(entries), { level: 6 })
