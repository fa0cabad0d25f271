/** Session channels: what a client sets before it starts something, and the one thing it starts. */
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { basename } from 'node:path'
import { Socket } from 'node:net'
import type { Session } from 'ssh2'
import { isAppError } from '../../../../core/errors.ts'
import { LIMITS } from '../../../../core/limits.ts'
import type { Started } from '../helper-client.ts'
import type { WindowSize } from '../helper/terminal.ts'
import type { Ask } from '../messages.ts'
import { openAgentChannel } from '../ssh2/agent-channel.ts'
import { join, repairChannel } from '../ssh2/channel.ts'
import { internalsOf, type ChannelInternals } from '../ssh2/internals.ts'
import type { Live } from './connection.ts'
import { acceptsVariable, sessionEnvironment } from './environment.ts'
import { attachPipes } from './pipes.ts'
import { attachTerminal } from './terminal.ts'
import { createSftpWatch } from './sftp-watch.ts'

/** RFC 4254 section 6.10, the signals that a client may send. */
const SIGNALS: ReadonlySet<string> = new Set(
  'ABRT ALRM FPE HUP ILL INT KILL PIPE QUIT SEGV TERM USR1 USR2'.split(' '),
)
/** Where distributions put it. */
const SFTP_SERVERS = [
  '/usr/lib/openssh/sftp-server',
  '/usr/libexec/openssh/sftp-server',
  '/usr/lib/ssh/sftp-server',
  '/usr/libexec/sftp-server',
  '/usr/lib64/ssh/sftp-server',
  '/usr/lib/sftp-server',
]
/** As shells say "found, but not to be run" and "not found". */
const EXIT = { refused: 126, notStarted: 127 } as const

interface Terminal {
  readonly term: string
  size: WindowSize
  readonly modes: ReadonlyMap<number, number>
}

export function serveSessions(live: Live): void {
  const { client, guards, link } = live
  let open = 0
  client.on('session', (accept, reject) =>
    live.run('session', async () => {
      open++
      const answer = await link.ask({ op: 'session', open })
      if (!answer.allow) {
        open--
        return guards.refuseOpen(reject, answer.line)
      }
      const session = accept()
      session.on('close', () => open--)
      serveSession(live, session)
    }),
  )
}

function serveSession(live: Live, session: Session): void {
  const { link, helper, guards, account, start } = live
  const given = new Map<string, string>()
  let terminal: Terminal | undefined
  let program: Started | undefined
  let agent: Promise<string | undefined> = Promise.resolve(undefined)

  session.on('env', (accept, reject, { key, val }) => {
    const known = given.has(key) || given.size < LIMITS.sshEnv.value
    if (!known || !acceptsVariable(key, val, start.environment.acceptEnv)) return reject?.()
    given.set(key, val)
    accept?.()
  })
  session.on('pty', (accept, _reject, info) => {
    const { cols: columns, rows, width, height } = info
    const term = /^[A-Za-z0-9_.+-]{1,64}$/.test(info.term ?? '') ? info.term : 'dumb'
    terminal = { term, size: { columns, rows, width, height }, modes: guards.takeTerminalModes() }
    accept?.()
  })
  session.on('window-change', (accept, _reject, { cols: columns, rows, width, height }) => {
    const size = { columns, rows, width, height }
    if (terminal) terminal.size = size
    if (terminal && program) program.resize(size)
    accept?.()
  })
  session.on('signal', (accept, reject, { name }) => {
    const signal = constants.signals[`SIG${name}` as NodeJS.Signals]
    if (!SIGNALS.has(name) || !program) return reject?.()
    program.signal(signal)
    accept?.()
  })
  session.on('auth-agent', (accept, reject) => {
    agent = openAgentSocket(live, session)
    void agent.then((path) => (path === undefined ? reject?.() : accept?.())).catch(() => undefined)
  })

  function begin(raw: unknown, ask: Ask, programOf: () => { file: string; argv: string[] }): void {
    const channel = repairChannel(raw)
    live.run('program', async () => {
      const answer = await link.ask(ask)
      if (!answer.allow) return refuse(live, channel, answer.line, EXIT.refused)
      const agentSocket = await agent
      const env = sessionEnvironment(account, start.environment, {
        given,
        terminal: terminal?.term,
        agentSocket,
      })
      try {
        program = await helper.run({
          ...programOf(),
          env,
          ...(terminal && { terminal: { size: terminal.size, modes: [...terminal.modes] } }),
        })
      } catch (e) {
        const why = isAppError(e) ? e.message : 'it failed'
        return refuse(live, channel, `cannot start: ${why}`, EXIT.notStarted)
      }
      const ended = (code: number): void => live.ended(code)
      if (terminal) attachTerminal(channel, program, live.clock, ended)
      else attachPipes(channel, session, program, live.clock, ended)
    })
  }
  const { shell } = account
  const inShell = (command: string) => ({ file: shell, argv: [basename(shell), '-c', command] })

  session.on('shell', (accept) =>
    begin(accept(), { op: 'shell', terminal: terminal !== undefined }, () => ({
      file: shell,
      argv: [`-${basename(shell)}`],
    })),
  )
  session.on('exec', (accept, reject, { command }) => {
    if (Buffer.byteLength(command) > LIMITS.sshCommand.value || command.includes('\0'))
      return reject?.()
    const ask = { op: 'exec', command, terminal: terminal !== undefined } as const
    begin(accept(), ask, () => inShell(command))
  })
  session.on('subsystem', (accept, _reject, { name }) => {
    const server = start.sftpServer ?? SFTP_SERVERS.find((path) => existsSync(path))
    const channel = accept() as unknown as ChannelInternals
    if (name === 'sftp' && server !== undefined) {
      const watch = createSftpWatch((op) => link.report('session.file', 'ok', { ...op }))
      channel.on('data', (chunk: Buffer) => watch(chunk))
      channel.pause()
    }
    begin(channel, { op: 'subsystem', name }, () => {
      if (server === undefined) throw new Error('no sftp-server')
      // Through the login shell, as sshd does: accounts with a restricting shell stay restricted.
      return inShell(server)
    })
  })
}

/** One clear line, and an exit code that says nothing of the user's ran. */
function refuse(live: Live, channel: ChannelInternals, line: string, exitCode: number): void {
  channel.resume()
  live.ended(exitCode)
  channel.stderr.end(`postern: ${line}\r\n`, () => {
    channel.exit(exitCode)
    channel.end()
  })
}

/** The path of a socket in front of the user's own agent, or undefined when their role does not allow it. */
async function openAgentSocket(live: Live, session: Session): Promise<string | undefined> {
  const { link, helper, client } = live
  const answer = await link.ask({ op: 'agent' })
  if (!answer.allow) return undefined
  const listening = await helper.listen({ agent: true }, ({ fd }) => {
    const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true })
    socket.on('error', () => undefined)
    live.run('agent channel', async () => {
      const channel = await openAgentChannel(internalsOf(client)).catch((e: unknown) => {
        socket.destroy()
        throw e
      })
      join(socket, channel, () => undefined)
    })
  })
  session.on('close', () => listening.close())
  live.onNarrowed((grant) => {
    if (!grant.forwardAgent) listening.close()
  })
  return listening.path
}
