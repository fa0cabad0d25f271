/**
 * Reads along with the client's half of an SFTP session (draft-ietf-secsh-filexfer-02) and tells which files it touches. Only
 * names are kept, never contents; a packet that makes no sense is skipped, because sftp-server is the one to answer it.
 */
import { LIMITS } from '../../../../core/limits.ts'
import { readString } from '../ssh2/wire.ts'

export interface FileOperation {
  readonly operation: 'read' | 'write' | 'remove' | 'rename' | 'mkdir' | 'rmdir' | 'symlink'
  readonly path: string
  /** The other name of a rename or symlink. */
  readonly to?: string
}

const OPEN = 3
const BY_TYPE: Readonly<Record<number, FileOperation['operation']>> = {
  13: 'remove',
  14: 'mkdir',
  15: 'rmdir',
  18: 'rename',
  20: 'symlink',
}
const EXTENDED = 200
const RENAMES: ReadonlySet<string> = new Set(['posix-rename@openssh.com', 'hardlink@openssh.com'])
const FLAG_WRITE = 0x02
/** Length, type, request id. */
const HEADER = 9
/** Room for an extension's name and two paths; a longer packet is cut here. */
const KEPT = 16 * 1024
const PATH_SHOWN = 1024

export function createSftpWatch(tell: (operation: FileOperation) => void): (chunk: Buffer) => void {
  let held = Buffer.alloc(0)
  /** Bytes of the current packet that nobody looks at. */
  let skip = 0
  let told = 0

  return (chunk) => {
    if (skip >= chunk.length) {
      skip -= chunk.length
      return
    }
    let bytes = Buffer.concat([held, chunk.subarray(skip)])
    skip = 0
    while (bytes.length >= HEADER) {
      const total = Math.max(HEADER, 4 + bytes.readUInt32BE(0))
      const type = bytes[4] ?? 0
      const wanted = isKnown(type) ? Math.min(total, KEPT) : HEADER
      if (bytes.length < wanted) break
      const operation = operationOf(type, bytes.subarray(HEADER, wanted))
      if (operation && told++ < LIMITS.sshFileEvents.value) tell(operation)
      skip = Math.max(0, total - bytes.length)
      bytes = bytes.subarray(total)
    }
    held = Buffer.from(bytes)
  }
}

const isKnown = (type: number): boolean => type === OPEN || type === EXTENDED || type in BY_TYPE

function operationOf(type: number, body: Buffer): FileOperation | undefined {
  const first = readString(body, 0)
  if (!first) return undefined
  if (type === EXTENDED) {
    if (!RENAMES.has(text(first.value))) return undefined
    return twoPaths('rename', body, first.next)
  }
  if (type === OPEN) {
    if (first.next + 4 > body.length) return undefined
    const writes = (body.readUInt32BE(first.next) & FLAG_WRITE) !== 0
    return { operation: writes ? 'write' : 'read', path: text(first.value) }
  }
  const operation = BY_TYPE[type]
  if (!operation) return undefined
  return operation === 'rename' || operation === 'symlink'
    ? twoPaths(operation, body, 0)
    : { operation, path: text(first.value) }
}

function twoPaths(
  operation: FileOperation['operation'],
  body: Buffer,
  at: number,
): FileOperation | undefined {
  const from = readString(body, at)
  const to = from && readString(body, from.next)
  return to && { operation, path: text(from.value), to: text(to.value) }
}

const text = (bytes: Buffer): string => bytes.toString('utf8', 0, PATH_SHOWN)
