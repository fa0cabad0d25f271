/**
 * The session helper: a process of one SSH connection that starts as the agent's user, becomes the user of the session and
 * from then on does what that user may do, no more. It starts programs, dials and listens, and hands every descriptor to the
 * agent, so that no data passes through it. It ends, with all it started, when the agent closes its stdin.
 */
import { constants } from 'node:os'
import { createInterface } from 'node:readline'
import { MessageChannel } from 'node:worker_threads'
import { systemClock } from '../../../core/clock.ts'
import { reasonOf } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'
import { closeAllOnExec, limitOpenFiles } from './helper/libc.ts'
import type { Command, HelperEvent } from './helper/messages.ts'
import { becomeUser } from './helper/privileges.ts'
import { createPrograms } from './helper/programs.ts'
import { createSockets, reasonText } from './helper/sockets.ts'

/** The agent's end of the descriptor socket is its stdio[3]. */
const FD_SOCKET = 3
const UMASK = 0o022
/** The usual soft limit of a login session; Node had raised it for itself. */
const OPEN_FILES = 1024

const tell = (event: HelperEvent): void => void process.stdout.write(`${JSON.stringify(event)}\n`)
const programs = createPrograms(FD_SOCKET, tell)
const sockets = createSockets(FD_SOCKET, tell, systemClock)
let user: string | undefined

function become(account: Extract<Command, { do: 'become' }>['account']): void {
  try {
    becomeUser(account)
  } catch (e) {
    tell({ did: 'refuse', reason: reasonOf(e).slice(0, 500) })
    process.exitCode = 1
    return end()
  }
  process.umask(UMASK)
  closeAllOnExec()
  limitOpenFiles(OPEN_FILES)
  user = account.name
  let atHome = true
  try {
    process.chdir(account.home)
  } catch {
    process.chdir('/')
    atHome = false
  }
  tell({ did: 'become', atHome })
}

function obey(command: Command): void | Promise<void> {
  if (command.do === 'become') return become(command.account)
  // Nothing runs with the rights this process was started with.
  if (user === undefined) return end()
  switch (command.do) {
    case 'run':
      return programs.run(command)
    case 'resize':
      return programs.resize(command.id, command.size)
    case 'signal':
      return programs.signal(command.id, command.signal)
    case 'release':
      return programs.release(command.id)
    case 'connect':
      return sockets.connect(command.id, command.to)
    case 'listen':
      return sockets.listen(command)
    case 'unlisten':
      return sockets.unlisten(command.id)
  }
}

async function onLine(line: string): Promise<void> {
  const command = JSON.parse(line) as Command
  try {
    await obey(command)
  } catch (e) {
    const id = 'id' in command ? command.id : 0
    tell({ did: 'fail', id, reason: command.do === 'run' ? reasonOf(e) : reasonText(e) })
  }
}

let ending = false
function end(): void {
  if (ending) return
  ending = true
  sockets.closeAll()
  if (!programs.killAll(constants.signals.SIGHUP)) process.exit()
  systemClock.after(LIMITS.sshHangupGrace.value, () => {
    programs.killAll(constants.signals.SIGKILL)
    process.exit()
  })
}

// Timers and signals keep no process alive; an open port does, until end() says so.
new MessageChannel().port1.on('message', () => undefined)
process.on('SIGCHLD', () => programs.reap())
// A hangup or an interrupt meant for a session must not end its helper.
for (const signal of ['SIGHUP', 'SIGINT', 'SIGPIPE'] as const) process.on(signal, () => undefined)
process.stdout.on('error', end)
createInterface({ input: process.stdin, crlfDelay: Infinity })
  .on('line', (line) => void onLine(line))
  .on('close', end)
tell({ did: 'boot' })
