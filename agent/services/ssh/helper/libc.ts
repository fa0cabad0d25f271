/**
 * Calls of the C library that Node lacks: passing descriptors between processes, pseudo terminals, starting a program in a
 * session of its own with a chosen argv[0], accounts by name. Linux, 64 bit, glibc and musl (layouts as in both).
 */
import { readdirSync } from 'node:fs'
import koffi from 'koffi'
import { AppError } from '../../../../core/errors.ts'

const libc = koffi.load(null)
const iovec = koffi.struct({ base: 'void *', length: 'size_t' })
const msghdr = koffi.struct({
  name: 'void *',
  nameLength: 'uint32',
  iov: koffi.pointer(iovec),
  iovLength: 'size_t',
  control: 'void *',
  controlLength: 'size_t',
  flags: 'int',
})
const call = {
  socketpair: libc.func('int socketpair(int, int, int, _Out_ int *)'),
  pipe2: libc.func('int pipe2(_Out_ int *, int)'),
  sendmsg: libc.func('sendmsg', 'intptr_t', ['int', koffi.pointer(msghdr), 'int']),
  recvmsg: libc.func('recvmsg', 'intptr_t', ['int', koffi.inout(koffi.pointer(msghdr)), 'int']),
  prctl: libc.func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)'),
  fcntl: libc.func('int fcntl(int, int, ...)'),
  waitpid: libc.func('int waitpid(int, _Out_ int *, int)'),
  setrlimit: libc.func('int setrlimit(int, const void *)'),
  getrlimit: libc.func('int getrlimit(int, void *)'),
}

const O_CLOEXEC = 0o2000000
const AF_UNIX = 1
const F_SETFD = 2
const F_SETPIPE_SZ = 1031
const PIPE_BYTES = 256 * 1024
const SOCK_STREAM = 1
const SOCK_SEQPACKET = 5
const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const MSG_DONTWAIT = 0x40
const MSG_CMSG_CLOEXEC = 0x40000000
/** Level and type of a control message follow its length of 8 bytes. */
const CMSG_HEADER = 16
const MAX_FDS = 4
const TAG_BYTES = 4

/** The result of a call, or the error of the system by its name. */
export function checked(result: number, what: string): number {
  if (result < 0) throw systemError(koffi.errno(), what)
  return result
}

export function systemError(errno: number, what: string): AppError {
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0]
  return new AppError('ERR_INTERNAL', undefined, { internal: `${what}: ${name ?? errno}` })
}

const pairOf = (fds: readonly number[]): [number, number] => [fds[0] ?? -1, fds[1] ?? -1]

/** Two joined sockets, of bytes or with message boundaries; closed on exec unless handed over. */
export function socketPair(kind: 'bytes' | 'messages'): [number, number] {
  const fds = [-1, -1]
  const type = kind === 'bytes' ? SOCK_STREAM : SOCK_SEQPACKET
  checked(call.socketpair(AF_UNIX, type | O_CLOEXEC, 0, fds) as number, 'socketpair')
  return pairOf(fds)
}

/** Read end, write end. Real pipes: programs open /dev/stdin and /dev/stderr, which fails on sockets. */
export function pipe(): [number, number] {
  const fds = [-1, -1]
  checked(call.pipe2(fds, O_CLOEXEC) as number, 'pipe2')
  // With the usual 64 KiB both ends wait for each other all the time. A user at their limit keeps the usual.
  call.fcntl(fds[0] ?? -1, F_SETPIPE_SZ, 'int', PIPE_BYTES)
  return pairOf(fds)
}

const align = (n: number): number => (n + 7) & ~7

/** Sends descriptors with a number that says what they are for. The caller still has its own copies to close. */
export function sendFds(socket: number, tag: number, fds: readonly number[]): void {
  const body = Buffer.alloc(TAG_BYTES)
  body.writeUInt32LE(tag)
  const length = CMSG_HEADER + 4 * fds.length
  const control = Buffer.alloc(align(length))
  control.writeBigUInt64LE(BigInt(length), 0)
  control.writeInt32LE(SOL_SOCKET, 8)
  control.writeInt32LE(SCM_RIGHTS, 12)
  fds.forEach((fd, i) => control.writeInt32LE(fd, CMSG_HEADER + 4 * i))
  const message = {
    name: null,
    nameLength: 0,
    iov: [{ base: body, length: body.length }],
    iovLength: 1,
    control,
    controlLength: control.length,
    flags: 0,
  }
  checked(Number(call.sendmsg(socket, message, 0)), 'sendmsg')
}

/** The next descriptors that were sent, all closed on exec; undefined when none wait. */
export function receiveFds(socket: number): { tag: number; fds: number[] } | undefined {
  const body = Buffer.alloc(TAG_BYTES)
  const control = Buffer.alloc(align(CMSG_HEADER + 4 * MAX_FDS))
  const message = {
    name: null,
    nameLength: 0,
    iov: [{ base: body, length: body.length }],
    iovLength: 1,
    control,
    controlLength: control.length,
    flags: 0,
  }
  const got = Number(call.recvmsg(socket, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC))
  if (got !== TAG_BYTES) return undefined
  const length = Number(control.readBigUInt64LE(0))
  const isRights = control.readInt32LE(8) === SOL_SOCKET && control.readInt32LE(12) === SCM_RIGHTS
  const count = isRights ? Math.min(MAX_FDS, Math.floor((length - CMSG_HEADER) / 4)) : 0
  const fds = Array.from({ length: count }, (_, i) => control.readInt32LE(CMSG_HEADER + 4 * i))
  return { tag: body.readUInt32LE(0), fds }
}

const FD_CLOEXEC = 1
/** Keeps every descriptor but the first three from what this process starts: whoever started the agent may have left some. */
export function closeAllOnExec(): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name)
    // The listing's own descriptor has gone by now: its failure says nothing.
    if (fd > 2) call.fcntl(fd, F_SETFD, 'int', FD_CLOEXEC)
  }
}

const PR_SET_DUMPABLE = 4
/** From here on nobody but root may trace this process or read its memory, and it leaves no core file. */
export function forbidTracing(): void {
  checked(call.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) as number, 'prctl')
}

export type Exit = { readonly code: number } | { readonly signal: number }

const WNOHANG = 1
/** How a child ended, undefined while it runs, 'gone' when it is no child of ours. Reaps it. */
export function waitFor(pid: number): Exit | 'gone' | undefined {
  const status = [0]
  const got = call.waitpid(pid, status, WNOHANG) as number
  if (got === 0) return undefined
  if (got < 0) return 'gone'
  const value = status[0] ?? 0
  const signal = value & 0x7f
  return signal === 0 ? { code: (value >> 8) & 0xff } : { signal }
}

const RLIMIT_NOFILE = 7
/** Lowers the soft limit of open files, for this process and what it starts. Node had raised it to the hard limit. */
export function limitOpenFiles(soft: number): void {
  const limits = Buffer.alloc(16)
  checked(call.getrlimit(RLIMIT_NOFILE, limits) as number, 'getrlimit')
  if (limits.readBigUInt64LE(8) <= BigInt(soft)) return
  limits.writeBigUInt64LE(BigInt(soft), 0)
  checked(call.setrlimit(RLIMIT_NOFILE, limits) as number, 'setrlimit')
}

const trim = whereKnown('int malloc_trim(size_t)')
/** Hands freed memory back to the system, under a millisecond. Only glibc keeps it, and only glibc has the call. */
export function giveMemoryBack(): void {
  trim?.(0)
}

function whereKnown(prototype: string): ReturnType<typeof libc.func> | undefined {
  try {
    return libc.func(prototype)
  } catch {
    return undefined
  }
}
