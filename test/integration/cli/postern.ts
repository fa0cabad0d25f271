/**
 * Runs the real command as a child process, as a person would: what was typed, what came out on each stream, the exit code.
 * And a whole `postern up` for tests that need a cluster.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'

export const BIN = join(import.meta.dirname, '../../../bin/postern.mjs')
export const CHECKOUT = join(import.meta.dirname, '../../..')

export interface Finished {
  readonly stdout: string
  readonly stderr: string
  /** A signal is told as 128 and its number is not: null. */
  readonly code: number | null
}
export interface RunOptions {
  readonly cwd?: string
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

export interface Home {
  /** Private to the test: HOME and working directory. */
  readonly dir: string
  readonly env: Record<string, string>
  remove(): Promise<void>
}

export async function temporaryHome(): Promise<Home> {
  const dir = await mkdtemp(join(tmpdir(), 'postern-cli-'))
  const inherited = Object.entries(process.env).filter(
    (entry): entry is [string, string] =>
      entry[1] !== undefined &&
      !/^(POSTERN_|SSH_AUTH_SOCK|NO_COLOR|FORCE_COLOR|NODE_OPTIONS)/.test(entry[0]),
  )
  return {
    dir,
    env: { ...Object.fromEntries(inherited), HOME: dir },
    remove: () => rm(dir, { recursive: true, force: true, maxRetries: 5 }),
  }
}

export function start(command: string, args: readonly string[], options: RunOptions): ChildProcess {
  return spawn(command, args, {
    cwd: options.cwd,
    env: options.env,
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.signal && { signal: options.signal }),
  })
}

export function finish(child: ChildProcess, input = ''): Promise<Finished> {
  return new Promise((resolve, reject) => {
    let stdout = ''
    let stderr = ''
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.on('error', reject)
    child.on('close', (code) => resolve({ stdout, stderr, code }))
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input)
  })
}

/** A line as a person types it, run by a shell. */
export const shell = (line: string, options: RunOptions): Promise<Finished> =>
  finish(start('sh', ['-c', line], options), options.input)

export const postern = (args: readonly string[], options: RunOptions): Promise<Finished> =>
  finish(start(process.execPath, [BIN, ...args], options), options.input)

export interface RunningUp {
  readonly pid: number
  /** Everything on the screen. */
  readonly screen: string
  /** The commands that it prints, in order. */
  readonly commands: readonly string[]
  readonly origin: string
  /** Resolves with the exit code. */
  readonly exited: Promise<number | null>
  /** SIGINT, then waits; answers the exit code. */
  stop(): Promise<number | null>
  /** kill -9, then waits. */
  kill(): Promise<void>
}

/** Starts `postern up` and resolves when its screen is complete. Rejects with what it said when it ends before that. */
export function up(home: Home, args: readonly string[], cwd = home.dir): Promise<RunningUp> {
  const child = spawn(process.execPath, [BIN, 'up', ...args], {
    cwd,
    env: home.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const exited = new Promise<number | null>((resolve) => {
    child.on('close', (code) => resolve(code))
  })
  return new Promise((resolve, reject) => {
    const seen: string[] = []
    createInterface(child.stdout).on('line', (line) => {
      seen.push(line)
      if (!line.startsWith('Ctrl-C stops')) return
      resolve({
        pid: child.pid ?? 0,
        screen: seen.join('\n'),
        commands: seen.filter((l) => /^ {2}(ssh|curl|npx|postern) /.test(l)).map((l) => l.trim()),
        origin: /https:\/\/\S+/.exec(seen.join('\n'))?.[0] ?? '',
        exited,
        stop: () => {
          child.kill('SIGINT')
          return exited
        },
        kill: async () => {
          child.kill('SIGKILL')
          await exited
        },
      })
    })
    void exited.then((code) =>
      reject(new Error(`up ended with ${code}\n${seen.join('\n')}\n${stderr}`)),
    )
  })
}

/** The first line that matches; rejects when the stream ends without one. */
export function lineOf(lines: Interface, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    lines.on('line', (line) => {
      if (pattern.test(line)) resolve(line)
    })
    lines.on('close', () => reject(new Error(`no line matched ${pattern.source}`)))
  })
}
