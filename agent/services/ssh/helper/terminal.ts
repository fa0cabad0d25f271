/**
 * Pseudo terminals. The master is closed on exec, so no other session inherits it; the slave stays open here until the
 * program has ended and its output was read, because a reader of a master without slaves may lose the last bytes.
 */
import { closeSync, constants, openSync } from 'node:fs'
import koffi from 'koffi'
import { checked } from './libc.ts'

const libc = koffi.load(null)
const call = {
  openpt: libc.func('int posix_openpt(int)'),
  grantpt: libc.func('int grantpt(int)'),
  unlockpt: libc.func('int unlockpt(int)'),
  ptsname: libc.func('int ptsname_r(int, void *, size_t)'),
  ioctl: libc.func('int ioctl(int, unsigned long, void *)'),
  tcgetattr: libc.func('int tcgetattr(int, void *)'),
  tcsetattr: libc.func('int tcsetattr(int, int, const void *)'),
}

const TIOCSWINSZ = 0x5414
const O_CLOEXEC = 0o2000000
const NAME_ROOM = 64

export interface WindowSize {
  readonly columns: number
  readonly rows: number
  readonly width: number
  readonly height: number
}

export interface Terminal {
  readonly master: number
  readonly slave: number
  readonly path: string
}

export function openTerminal(size: WindowSize, modes: ReadonlyMap<number, number>): Terminal {
  const flags = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK | O_CLOEXEC
  const master = checked(call.openpt(flags) as number, 'posix_openpt')
  try {
    checked(call.grantpt(master) as number, 'grantpt')
    checked(call.unlockpt(master) as number, 'unlockpt')
    const name = Buffer.alloc(NAME_ROOM)
    checked(-Math.abs(call.ptsname(master, name, NAME_ROOM) as number), 'ptsname_r')
    const path = name.toString('latin1', 0, name.indexOf(0))
    const slave = openSync(path, constants.O_RDWR | constants.O_NOCTTY)
    resize(slave, size)
    applyModes(slave, modes)
    return { master, slave, path }
  } catch (e) {
    closeSync(master)
    throw e
  }
}

const SHORT_MAX = 0xffff
export function resize(fd: number, size: WindowSize): void {
  const winsize = Buffer.alloc(8)
  const fields = [size.rows, size.columns, size.width, size.height]
  fields.forEach((value, i) => winsize.writeUInt16LE(Math.min(value, SHORT_MAX), 2 * i))
  checked(call.ioctl(fd, TIOCSWINSZ, winsize) as number, 'TIOCSWINSZ')
}

// struct termios of Linux: four words of flags, one byte of discipline, 32 control characters, two speeds.
const TERMIOS_ROOM = 64
const FLAGS_AT = { input: 0, output: 4, control: 8, local: 12 } as const
const CHARACTERS_AT = 17

/** RFC 4254 section 8: opcode to index in c_cc. */
const CHARACTER: Readonly<Record<number, number>> = {
  1: 0, // VINTR
  2: 1, // VQUIT
  3: 2, // VERASE
  4: 3, // VKILL
  5: 4, // VEOF
  6: 11, // VEOL
  7: 16, // VEOL2
  8: 8, // VSTART
  9: 9, // VSTOP
  10: 10, // VSUSP
  12: 12, // VREPRINT
  13: 14, // VWERASE
  14: 15, // VLNEXT
  16: 7, // VSWTCH
  18: 13, // VDISCARD
}
type Word = keyof typeof FLAGS_AT
/** Opcode to word and bit. */
const FLAG: Readonly<Record<number, readonly [Word, number]>> = {
  30: ['input', 0o4], // IGNPAR
  31: ['input', 0o10], // PARMRK
  32: ['input', 0o20], // INPCK
  33: ['input', 0o40], // ISTRIP
  34: ['input', 0o100], // INLCR
  35: ['input', 0o200], // IGNCR
  36: ['input', 0o400], // ICRNL
  37: ['input', 0o1000], // IUCLC
  38: ['input', 0o2000], // IXON
  39: ['input', 0o4000], // IXANY
  40: ['input', 0o10000], // IXOFF
  41: ['input', 0o20000], // IMAXBEL
  42: ['input', 0o40000], // IUTF8
  50: ['local', 0o1], // ISIG
  51: ['local', 0o2], // ICANON
  52: ['local', 0o4], // XCASE
  53: ['local', 0o10], // ECHO
  54: ['local', 0o20], // ECHOE
  55: ['local', 0o40], // ECHOK
  56: ['local', 0o100], // ECHONL
  57: ['local', 0o200], // NOFLSH
  58: ['local', 0o400], // TOSTOP
  59: ['local', 0o100000], // IEXTEN
  60: ['local', 0o1000], // ECHOCTL
  61: ['local', 0o4000], // ECHOKE
  62: ['local', 0o40000], // PENDIN
  70: ['output', 0o1], // OPOST
  71: ['output', 0o2], // OLCUC
  72: ['output', 0o4], // ONLCR
  73: ['output', 0o10], // OCRNL
  74: ['output', 0o20], // ONOCR
  75: ['output', 0o40], // ONLRET
  92: ['control', 0o400], // PARENB
  93: ['control', 0o1000], // PARODD
}
const CSIZE = 0o60
const SIZE: Readonly<Record<number, number>> = { 90: 0o40 /* CS7 */, 91: 0o60 /* CS8 */ }
/** "No such character" on the wire, and in c_cc. */
const NO_CHARACTER = 255

/** Sets what the client asked for; opcodes that Linux has nothing for are ignored, as sshd does. */
function applyModes(fd: number, modes: ReadonlyMap<number, number>): void {
  if (modes.size === 0) return
  const termios = Buffer.alloc(TERMIOS_ROOM)
  checked(call.tcgetattr(fd, termios) as number, 'tcgetattr')
  for (const [opcode, value] of modes) {
    const character = CHARACTER[opcode]
    const flag = FLAG[opcode]
    const size = SIZE[opcode]
    if (character !== undefined)
      termios[CHARACTERS_AT + character] = value === NO_CHARACTER ? 0 : value & 0xff
    if (flag) setBits(termios, FLAGS_AT[flag[0]], flag[1], value === 0 ? 0 : flag[1])
    if (size !== undefined && value !== 0) setBits(termios, FLAGS_AT.control, CSIZE, size)
  }
  checked(call.tcsetattr(fd, 0, termios) as number, 'tcsetattr')
}

function setBits(termios: Buffer, at: number, mask: number, bits: number): void {
  termios.writeUInt32LE(((termios.readUInt32LE(at) & ~mask) | bits) >>> 0, at)
}
