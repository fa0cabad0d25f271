/**
 * The worker's side of a session helper: starts it with nothing of the agent's environment, asks it to become the user, and
 * hands out the descriptors it sends. What the helper says is the user's word: sized, parsed, and believed in nothing but
 * what concerns that user.
 */
import { spawn } from 'node:child_process'
import { closeSync, statSync } from 'node:fs'
import { constants } from 'node:os'
import type { Clock } from '../../../core/clock.ts'
import { AppError, invariant } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'
import type { Account } from './helper/accounts.ts'
import { receiveFds } from './helper/libc.ts'
import { helperEvent, type Command, type HelperEvent, type Target } from './helper/messages.ts'
import type { WindowSize } from './helper/terminal.ts'
import type { Entry } from './entry.ts'

export type ProgramExit = { readonly code: number } | { readonly signal: number }

export interface Started {
  readonly pid: number
  /** Pipes: to stdin, from stdout, from stderr. A terminal: its master. */
  readonly fds: readonly number[]
  readonly exited: Promise<ProgramExit>
  resize(size: WindowSize): void
  signal(signal: number): void
  /** The output was read to its end. */
  release(): void
}

export interface Listening {
  readonly port: number | undefined
  readonly path: string | undefined
  close(): void
}
export interface Accepted {
  readonly fd: number
  readonly host: string
  readonly port: number
}

export interface Helper {
  readonly pid: number
  /** Resolves once it is that user; `atHome` is false when the home directory cannot be entered. Rejects when it cannot be. */
  become(account: Account): Promise<{ atHome: boolean }>
  run(program: Omit<Extract<Command, { do: 'run' }>, 'do' | 'id'>): Promise<Started>
  /** A descriptor connected to the target. */
  connect(to: Target): Promise<number>
  listen(at: Target | { agent: true }, onAccept: (accepted: Accepted) => void): Promise<Listening>
  /** Ends it and all it started. Resolves when it is gone. */
  end(): Promise<void>
  readonly gone: Promise<void>
}

interface Waiting {
  resolve(event: HelperEvent, fds: readonly number[]): void
  reject(e: AppError): void
}

const failed = (internal: string): AppError =>
  new AppError('ERR_INTERNAL', undefined, { internal: `session helper: ${internal}` })

/** `sockets` are a pair that keeps message boundaries: our end and the helper's. Whoever made them closes them. */
export function startHelper(
  entry: Entry,
  sockets: readonly [number, number],
  clock: Clock,
): Helper {
  const [fdSocket, theirs] = sockets
  const child = spawn(process.execPath, [...entry.execArgv, entry.file], {
    env: {},
    cwd: '/',
    stdio: ['pipe', 'pipe', 'inherit', theirs],
    detached: true,
  })
  const waiting = new Map<number, Waiting>()
  const exits = new Map<number, (exit: ProgramExit) => void>()
  const listeners = new Map<number, (accepted: Accepted) => void>()
  const pids = new Set<number>()
  let becoming: Waiting | undefined
  let uid: number | undefined
  let lastId = 0

  const { stdin, stdout } = child
  invariant(stdin && stdout, 'the helper has pipes')
  const send = (command: Command): void => void stdin.write(`${JSON.stringify(command)}\n`)
  stdin.on('error', () => undefined)

  /** The descriptors that the line `id` tells of. */
  function fdsOf(id: number): readonly number[] {
    const received = receiveFds(fdSocket)
    if (received?.tag === id) return received.fds
    received?.fds.forEach((fd) => closeSync(fd))
    throw failed('descriptors out of step')
  }

  function onEvent(event: HelperEvent): void {
    switch (event.did) {
      case 'boot':
        return
      case 'become':
        return becoming?.resolve(event, [])
      case 'refuse':
        return becoming?.reject(failed(event.reason))
      case 'exit':
        return settleExit(event.id, { code: event.code })
      case 'die':
        return settleExit(event.id, { signal: event.signal })
      case 'accept': {
        const [fd] = fdsOf(event.id)
        if (fd === undefined) throw failed('no descriptor')
        const listener = listeners.get(event.id)
        if (listener) listener({ fd, host: event.host, port: event.port })
        else closeSync(fd)
        return
      }
      case 'run':
      case 'connect':
      case 'listen':
      case 'fail': {
        const fds = event.did === 'run' || event.did === 'connect' ? fdsOf(event.id) : []
        const waiter = waiting.get(event.id)
        waiting.delete(event.id)
        if (!waiter) return fds.forEach((fd) => closeSync(fd))
        if (event.did === 'fail')
          waiter.reject(new AppError('ERR_UPSTREAM_UNREACHABLE', event.reason))
        else waiter.resolve(event, fds)
      }
    }
  }
  function settleExit(id: number, exit: ProgramExit): void {
    exits.get(id)?.(exit)
    exits.delete(id)
  }

  readLines(stdout, onEvent, endNow)

  const gone = new Promise<void>((resolve) => {
    const onGone = (): void => {
      const e = failed('it ended')
      becoming?.reject(e)
      for (const waiter of waiting.values()) waiter.reject(e)
      waiting.clear()
      for (const exit of exits.values()) exit({ signal: constants.signals.SIGKILL })
      exits.clear()
      resolve()
    }
    child.once('exit', onGone)
    child.once('error', onGone)
  })

  function endNow(): void {
    stdin?.end()
    child.kill('SIGKILL')
    killGroups()
  }
  /** For a helper that its user has stopped: what it started is ended from here. */
  function killGroups(): void {
    for (const pid of pids) {
      try {
        // The id is the helper's word: it must not point root's signal at somebody else.
        if (statSync(`/proc/${pid}`).uid === uid) process.kill(-pid, 'SIGKILL')
      } catch {
        // It ended by itself.
      }
    }
  }

  function request(id: number, command: Command): Promise<[HelperEvent, readonly number[]]> {
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve: (event, fds) => resolve([event, fds]), reject })
      send(command)
    })
  }

  return {
    pid: child.pid ?? -1,
    gone,
    become(account) {
      return new Promise((resolve, reject) => {
        const timer = clock.after(LIMITS.sshHelperStart.value, () => reject(failed('not in time')))
        becoming = {
          resolve(event) {
            timer.cancel()
            resolve({ atHome: event.did === 'become' && event.atHome })
          },
          reject(e) {
            timer.cancel()
            reject(e)
          },
        }
        uid = account.uid
        send({ do: 'become', account })
      })
    },
    async run(program) {
      const id = ++lastId
      // Told at once: the exit may stand in the same chunk as the start.
      const exited = new Promise<ProgramExit>((resolve) => exits.set(id, resolve))
      const [event, fds] = await request(id, { do: 'run', id, ...program })
      if (event.did !== 'run') throw failed('an answer to something else')
      const { pid } = event
      pids.add(pid)
      void exited.then(() => pids.delete(pid))
      return {
        pid,
        fds,
        exited,
        resize: (size) => send({ do: 'resize', id, size }),
        signal: (signal) => send({ do: 'signal', id, signal }),
        release: () => send({ do: 'release', id }),
      }
    },
    async connect(to) {
      const id = ++lastId
      const [, fds] = await request(id, { do: 'connect', id, to })
      const [fd] = fds
      if (fd === undefined) throw failed('no descriptor')
      return fd
    },
    async listen(at, onAccept) {
      const id = ++lastId
      listeners.set(id, onAccept)
      const [event] = await request(id, { do: 'listen', id, at }).catch((e: unknown) => {
        listeners.delete(id)
        throw e
      })
      if (event.did !== 'listen') throw failed('an answer to something else')
      return {
        port: event.port,
        path: event.path,
        close() {
          listeners.delete(id)
          send({ do: 'unlisten', id })
        },
      }
    },
    async end() {
      stdin.end()
      const late = clock.after(2 * LIMITS.sshHangupGrace.value, endNow)
      await gone
      late.cancel()
    },
  }
}

/** One JSON object a line, at most so long. Anything else ends it. */
function readLines(
  from: NodeJS.ReadableStream,
  onEvent: (event: HelperEvent) => void,
  onBad: (e: AppError) => void,
): void {
  let rest = ''
  from.setEncoding('utf8')
  from.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    try {
      if (rest.length > LIMITS.sshHelperLine.value) throw failed('a line too long')
      for (const line of lines) onEvent(helperEvent.parse(JSON.parse(line)))
    } catch (e) {
      from.removeAllListeners('data')
      onBad(e instanceof AppError ? e : failed('a line that is no event'))
    }
  })
}
