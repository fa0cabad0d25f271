/** What every command is given: its streams, its environment, time, and how this very command is run again. */
import { realpathSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock, type Clock } from '../core/clock.ts'
import { systemRandom, type Random } from '../core/random.ts'
import { readEnv, type Env } from './env.ts'

export interface Cli {
  readonly env: Env
  readonly cwd: string
  /** ~/.postern: profiles and the log of what went wrong. */
  readonly home: string
  /** Absolute: `node` and `bin/postern.mjs`, for a ProxyCommand. */
  readonly self: {
    readonly node: string
    readonly script: string
    /** The very build that runs, for processes that must be the same program as this one. */
    readonly program: string
  }
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  readonly clock: Clock
  readonly random: Random
  /** Result, on stdout. */
  out(line: string): void
  /** Everything else, on stderr. */
  note(line: string): void
}

/** `entry`: URL of the program's first module. */
export function processCli(entry: string): Cli {
  const env = readEnv()
  return {
    env,
    cwd: process.cwd(),
    home: path.join(env.home ?? homedir(), '.postern'),
    // npx runs us through a link in its cache, which may be gone tomorrow.
    self: {
      node: process.execPath,
      script: realpathSync(process.argv[1] ?? '.'),
      program: fileURLToPath(entry),
    },
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    clock: systemClock,
    random: systemRandom,
    out: (line) => void process.stdout.write(`${line}\n`),
    note: (line) => void process.stderr.write(`${line}\n`),
  }
}
