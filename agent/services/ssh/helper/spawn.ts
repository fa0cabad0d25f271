/**
 * Starts a program in a session and process group of its own, with default signals, as posix_spawn does it. Node's spawn can
 * not give a new session its controlling terminal, and leaves SIGPIPE and the mask to chance.
 */
import koffi from 'koffi'
import { systemError } from './libc.ts'

const libc = koffi.load(null)
const call = {
  spawn: libc.func(
    'int posix_spawn(_Out_ int *, str, void *, void *, const char **, const char **)',
  ),
  actionsInit: libc.func('int posix_spawn_file_actions_init(void *)'),
  actionsDestroy: libc.func('int posix_spawn_file_actions_destroy(void *)'),
  addDup2: libc.func('int posix_spawn_file_actions_adddup2(void *, int, int)'),
  addOpen: libc.func('int posix_spawn_file_actions_addopen(void *, int, str, int, uint32)'),
  attrInit: libc.func('int posix_spawnattr_init(void *)'),
  attrDestroy: libc.func('int posix_spawnattr_destroy(void *)'),
  setFlags: libc.func('int posix_spawnattr_setflags(void *, short)'),
  setDefault: libc.func('int posix_spawnattr_setsigdefault(void *, const void *)'),
  setMask: libc.func('int posix_spawnattr_setsigmask(void *, const void *)'),
}

const SETSIGDEF = 0x04
const SETSIGMASK = 0x08
const SETSID = 0x80
const O_RDWR = 2
/** posix_spawnattr_t has 336 bytes, posix_spawn_file_actions_t 80, sigset_t 128 in both libraries. */
const ROOM = 512

/** Pipes by descriptor, or the terminal at a path, which becomes the controlling one because the session opens it first. */
export type Stdio =
  | { readonly in: number; readonly out: number; readonly err: number }
  | { readonly terminal: string }

export interface Program {
  readonly file: string
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly stdio: Stdio
}

function ok(errno: number, what: string): void {
  if (errno !== 0) throw systemError(errno, what)
}

function fillActions(actions: Buffer, stdio: Stdio): void {
  if ('terminal' in stdio) {
    ok(call.addOpen(actions, 0, stdio.terminal, O_RDWR, 0) as number, 'addopen')
    ok(call.addDup2(actions, 0, 1) as number, 'adddup2')
    ok(call.addDup2(actions, 0, 2) as number, 'adddup2')
    return
  }
  ok(call.addDup2(actions, stdio.in, 0) as number, 'adddup2')
  ok(call.addDup2(actions, stdio.out, 1) as number, 'adddup2')
  ok(call.addDup2(actions, stdio.err, 2) as number, 'adddup2')
}

/** The process id, which is also the id of its group and session. Throws with the system's reason. */
export function startProgram(program: Program): number {
  const actions = Buffer.alloc(ROOM)
  const attributes = Buffer.alloc(ROOM)
  // sigfillset would leave out two that the C library uses itself, and they would be ignored.
  const everySignal = Buffer.alloc(128, 0xff)
  ok(call.actionsInit(actions) as number, 'file_actions_init')
  ok(call.attrInit(attributes) as number, 'spawnattr_init')
  try {
    fillActions(actions, program.stdio)
    ok(call.setDefault(attributes, everySignal) as number, 'setsigdefault')
    ok(call.setMask(attributes, Buffer.alloc(128)) as number, 'setsigmask')
    ok(call.setFlags(attributes, SETSID | SETSIGDEF | SETSIGMASK) as number, 'setflags')
    const pid = [0]
    const env = Object.entries(program.env).map(([name, value]) => `${name}=${value}`)
    const errno = call.spawn(
      pid,
      program.file,
      actions,
      attributes,
      [...program.argv, null],
      [...env, null],
    ) as number
    ok(errno, program.file)
    return pid[0] ?? -1
  } finally {
    call.actionsDestroy(actions)
    call.attrDestroy(attributes)
  }
}
