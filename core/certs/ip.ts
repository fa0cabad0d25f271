/** IP addresses as bytes: for the names in certificates and for SSH's `source-address`. No sockets are involved. */

const V4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/
const MAPPED = Buffer.from('00000000000000000000ffff', 'hex')

function parseV4(text: string): Buffer | undefined {
  const parts = V4.exec(text)?.slice(1)
  // A leading zero means octal to some readers, so it means nothing here.
  if (!parts?.every((part) => Number(part) < 256 && String(Number(part)) === part)) return undefined
  return Buffer.from(parts.map(Number))
}

function groups(text: string): number[] | undefined {
  if (text === '') return []
  const words = text.split(':')
  return words.every((word) => /^[0-9a-f]{1,4}$/i.test(word))
    ? words.map((word) => parseInt(word, 16))
    : undefined
}

function parseV6(text: string): Buffer | undefined {
  if (text.length > 45) return undefined
  // A dotted tail, as in ::ffff:192.0.2.1, stands for the last two groups.
  const tail = /^(.*:)([\d.]+)$/.exec(text)
  const v4 = tail?.[2]?.includes('.') ? parseV4(tail[2]) : undefined
  const hex = v4
    ? `${tail?.[1]}${v4.readUInt16BE(0).toString(16)}:${v4.readUInt16BE(2).toString(16)}`
    : text
  const halves = hex.split('::')
  if (halves.length > 2) return undefined
  const [left, right] = halves.map(groups)
  if (!left || (halves.length === 2 && !right)) return undefined
  const missing = 8 - left.length - (right?.length ?? 0)
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined
  const bytes = Buffer.alloc(16)
  left.forEach((group, i) => bytes.writeUInt16BE(group, 2 * i))
  right?.forEach((group, i) => bytes.writeUInt16BE(group, 2 * (left.length + missing + i)))
  return bytes
}

/** 4 or 16 bytes, or undefined. An IPv4 address written as IPv6 (::ffff:…) is the IPv4 address. */
export function parseIp(text: string): Buffer | undefined {
  const bytes = parseV4(text) ?? parseV6(text)
  return bytes?.length === 16 && bytes.subarray(0, 12).equals(MAPPED) ? bytes.subarray(12) : bytes
}

/** Dotted IPv4, or IPv6 with the longest run of zero groups shortened (RFC 5952). */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.')
  const words = Buffer.from(bytes).toString('hex').match(/.{4}/g) ?? []
  const text = words.map((word) => parseInt(word, 16).toString(16)).join(':')
  const runs = [...text.matchAll(/(?<![0-9a-f])0(:0)+(?![0-9a-f])/g)]
  const longest = runs.sort((a, b) => b[0].length - a[0].length || a.index - b.index)[0]
  if (!longest) return text
  const after = text.slice(longest.index + longest[0].length)
  return text.slice(0, longest.index).replace(/:$/, '') + '::' + after.replace(/^:/, '')
}

export interface Network {
  readonly bytes: Buffer
  readonly bits: number
}

/** `192.0.2.0/24`, or an address alone. Undefined when it is neither, or when bits lie behind the prefix. */
export function parseNetwork(text: string): Network | undefined {
  const [address = '', prefix, ...more] = text.split('/')
  const bytes = parseIp(address)
  if (!bytes || more.length > 0) return undefined
  const width = bytes.length * 8
  if (prefix === undefined) return { bytes, bits: width }
  if (!/^(0|[1-9]\d{0,2})$/.test(prefix) || Number(prefix) > width) return undefined
  const network = { bytes, bits: Number(prefix) }
  return masked(bytes, network.bits).equals(bytes) ? network : undefined
}

function masked(bytes: Buffer, bits: number): Buffer {
  return Buffer.from(
    bytes.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - 8 * i)))),
  )
}

export const inNetwork = (ip: Buffer, network: Network): boolean =>
  ip.length === network.bytes.length && masked(ip, network.bits).equals(network.bytes)
