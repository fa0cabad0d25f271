/** The programs of one connection: started with pipes or a terminal, their ends handed to the agent, their exits told. */
import { closeSync } from 'node:fs'
import { constants } from 'node:os'
import { pipe, sendFds, waitFor } from './libc.ts'
import type { Command, HelperEvent } from './messages.ts'
import { startProgram, type Stdio } from './spawn.ts'
import { openTerminal, resize, type Terminal, type WindowSize } from './terminal.ts'

type Run = Extract<Command, { do: 'run' }>
interface Running {
  readonly pid: number
  readonly terminal: Terminal | undefined
  ended: boolean
}

export interface Programs {
  run(command: Run): void
  resize(id: number, size: WindowSize): void
  signal(id: number, signal: number): void
  release(id: number): void
  /** Tells of every program that has ended. */
  reap(): void
  /** Sends `signal` to the groups of all that were not told as ended; whether any was there to take it. */
  killAll(signal: number): boolean
}

export function createPrograms(fdSocket: number, tell: (event: HelperEvent) => void): Programs {
  const running = new Map<number, Running>()

  function start(command: Run, stdio: Stdio, ours: readonly number[], terminal?: Terminal): void {
    const pid = startProgram({ ...command, stdio })
    running.set(command.id, { pid, terminal, ended: false })
    sendFds(fdSocket, command.id, ours)
    tell({ did: 'run', id: command.id, pid })
  }

  function runOnTerminal(command: Run, wanted: NonNullable<Run['terminal']>): void {
    const terminal = openTerminal(wanted.size, new Map(wanted.modes))
    try {
      const env = { ...command.env, SSH_TTY: terminal.path }
      start({ ...command, env }, { terminal: terminal.path }, [terminal.master], terminal)
    } catch (e) {
      closeSync(terminal.slave)
      throw e
    } finally {
      closeSync(terminal.master)
    }
  }

  function runOnPipes(command: Run): void {
    const [stdin, toStdin] = pipe()
    const [fromStdout, stdout] = pipe()
    const [fromStderr, stderr] = pipe()
    try {
      const stdio = { in: stdin, out: stdout, err: stderr }
      start(command, stdio, [toStdin, fromStdout, fromStderr])
    } finally {
      for (const fd of [stdin, toStdin, fromStdout, stdout, fromStderr, stderr]) closeSync(fd)
    }
  }

  /** Whether the group was there. */
  const kill = (program: Running, signal: number): boolean => {
    try {
      return process.kill(-program.pid, signal)
    } catch {
      return false
    }
  }
  /** Groups that are being ended: their leaders may go first, the rest of them must follow. */
  let ending: readonly Running[] | undefined

  return {
    run: (command) =>
      command.terminal ? runOnTerminal(command, command.terminal) : runOnPipes(command),
    resize(id, size) {
      const terminal = running.get(id)?.terminal
      if (terminal) resize(terminal.slave, size)
    },
    signal(id, signal) {
      const program = running.get(id)
      if (program && !program.ended) kill(program, signal)
    },
    release(id) {
      const program = running.get(id)
      if (program?.terminal) closeSync(program.terminal.slave)
      running.delete(id)
    },
    reap() {
      for (const [id, program] of running) {
        if (program.ended) continue
        const exit = waitFor(program.pid)
        if (exit === undefined) continue
        program.ended = true
        if (exit === 'gone') tell({ did: 'die', id, signal: constants.signals.SIGKILL })
        else if ('code' in exit) tell({ did: 'exit', id, code: exit.code })
        else tell({ did: 'die', id, signal: exit.signal })
        if (!program.terminal) running.delete(id)
      }
    },
    killAll(signal) {
      ending ??= [...running.values()].filter((program) => !program.ended)
      return ending.filter((program) => kill(program, signal)).length > 0
    },
  }
}
