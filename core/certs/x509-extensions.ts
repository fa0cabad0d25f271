/**
 * The extensions of a certificate of ours and how each value is read. Each may be there once; an unknown critical one refuses the
 * certificate, an unknown other one is kept for whoever asks.
 */
import { AppError } from '../errors.ts'
import { DerReader, readBitString, readBoolean, readOid, readUnsigned, TAG } from './der.ts'
import { formatIp } from './ip.ts'
import { OID } from './oids.ts'

export type Usage = 'client' | 'server'

export const broken = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_CERT_INVALID', undefined, { internal: `X.509: ${internal}`, cause })

/** The extensions that are understood, and so may be critical. */
export const STANDARD_EXTENSIONS: ReadonlySet<string> = new Set([
  OID.basicConstraints,
  OID.keyUsage,
  OID.subjectKeyIdentifier,
  OID.authorityKeyIdentifier,
  OID.extendedKeyUsage,
  OID.subjectAltName,
])
export function readExtensions(reader: DerReader): Map<string, Buffer> {
  const found = new Map<string, Buffer>()
  const list = reader.enter(0xa3)
  const items = list.enter(TAG.sequence)
  list.end()
  while (!items.done) {
    const item = items.enter(TAG.sequence)
    const id = readOid(item.expect(TAG.oid).content)
    const flag = item.optional(TAG.boolean)
    const critical = flag !== undefined && readBoolean(flag.content)
    if (flag && !critical) throw broken('default value is written out')
    const value = item.expect(TAG.octetString).content
    item.end()
    if (found.has(id)) throw broken(`extension ${id} is there twice`)
    if (critical && !STANDARD_EXTENSIONS.has(id)) throw broken(`unknown critical extension ${id}`)
    found.set(id, value)
  }
  return found
}

/** Runs `read` over the value of an extension and demands that it takes all of it. */
export function within<T>(
  value: Buffer | undefined,
  read: (reader: DerReader) => T,
): T | undefined {
  if (!value) return undefined
  const reader = new DerReader(value)
  const result = read(reader)
  reader.end()
  return result
}

export function readBasicConstraints(reader: DerReader): boolean {
  const body = reader.enter(TAG.sequence)
  const flag = body.optional(TAG.boolean)
  const isCa = flag !== undefined && readBoolean(flag.content)
  if (flag && !isCa) throw broken('default value is written out')
  const depth = body.optional(TAG.integer)
  if (depth && (readUnsigned(depth.content).length > 1 || !isCa)) throw broken('path length')
  body.end()
  return isCa
}

export function readUsages(reader: DerReader): Usage[] {
  const body = reader.enter(TAG.sequence)
  const usages: Usage[] = []
  while (!body.done) {
    const id = readOid(body.expect(TAG.oid).content)
    if (id === OID.clientAuth) usages.push('client')
    else if (id === OID.serverAuth) usages.push('server')
  }
  return usages
}

export function readAuthorityKeyId(reader: DerReader): Buffer {
  const body = reader.enter(TAG.sequence)
  const id = body.expect(0x80).content
  body.end()
  return id
}

export interface AltNames {
  readonly uris: string[]
  readonly dns: string[]
  readonly ips: string[]
}

export function readAltNames(reader: DerReader): AltNames {
  const names: AltNames = { uris: [], dns: [], ips: [] }
  const body = reader.enter(TAG.sequence)
  while (!body.done) {
    const { tag, content } = body.next()
    if (tag === 0x87) {
      if (content.length !== 4 && content.length !== 16) throw broken('length of an IP address')
      names.ips.push(formatIp(content))
      continue
    }
    // A zero byte once cut names short in C programs; nothing but visible ASCII is a name here.
    const text = content.toString('latin1')
    if (!/^[\x21-\x7e]+$/.test(text)) throw broken('characters of a name')
    if (tag === 0x82) names.dns.push(text)
    else if (tag === 0x86) names.uris.push(text)
    else throw broken('kind of an alternative name')
  }
  return names
}

export const readKeyUsage = (reader: DerReader): number =>
  readBitString(reader.expect(TAG.bitString).content).bytes[0] ?? 0

export const readSubjectKeyId = (reader: DerReader): Buffer =>
  reader.expect(TAG.octetString).content
