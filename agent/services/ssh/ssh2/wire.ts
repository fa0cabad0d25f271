/** The two SSH encodings (RFC 4251 section 5) that the workarounds write and read themselves. */

export function uint32(n: number): Buffer {
  const out = Buffer.alloc(4)
  out.writeUInt32BE(n)
  return out
}

export function string(value: string | Uint8Array): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  return Buffer.concat([uint32(bytes.length), bytes])
}

/** The string at `offset` and where the next field starts; undefined when the bytes end before it does. */
export function readString(
  bytes: Buffer,
  offset: number,
): { readonly value: Buffer; readonly next: number } | undefined {
  if (offset + 4 > bytes.length) return undefined
  const start = offset + 4
  const length = bytes.readUInt32BE(offset)
  if (length > bytes.length - start) return undefined
  return { value: bytes.subarray(start, start + length), next: start + length }
}
