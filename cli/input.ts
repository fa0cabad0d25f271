/** What people hand in: files, standard input, passwords. Sizes are checked before anything is kept. */
import { open } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { AppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Cli } from './cli.ts'
import { usage } from './ui/report.ts'

const tooLarge = (what: string, max: number): AppError =>
  new AppError('ERR_INPUT_TOO_LARGE', `${what} is larger than ${max} bytes`)

async function readStdin(cli: Cli, max: number): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of cli.stdin as AsyncIterable<Buffer>) {
    size += part.length
    if (size > max) throw tooLarge('standard input', max)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

/** A file, or standard input for "-". */
export async function readInput(cli: Cli, name: string, max: number): Promise<string> {
  if (name === '-') return readStdin(cli, max)
  const full = path.resolve(cli.cwd, name)
  const file = await open(full, 'r').catch((e: NodeJS.ErrnoException) => {
    const why = e.code === 'ENOENT' ? 'there is no such file' : (e.code ?? e.message)
    throw usage(`${name}: ${why}`)
  })
  try {
    const buffer = Buffer.alloc(max + 1)
    const { bytesRead } = await file.read(buffer, 0, max + 1, 0)
    if (bytesRead > max) throw tooLarge(name, max)
    return buffer.toString('utf8', 0, bytesRead)
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'EISDIR') throw usage(`${name}: it is a directory`)
    throw e
  } finally {
    await file.close()
  }
}

/**
 * From the file given, from the terminal, or from a pipe: never from an argument, which every user of the machine can read.
 * One line end after the password is not part of it.
 */
export async function readPassword(
  cli: Cli,
  options: { readonly file: string | undefined; readonly ask: string; readonly twice?: boolean },
): Promise<string> {
  const max = LIMITS.passwordMax.value + 2
  if (options.file === undefined && cli.stdin.isTTY) {
    const first = await prompt(cli, options.ask)
    if (options.twice && (await prompt(cli, 'The same again')) !== first)
      throw usage('the two passwords differ')
    return first
  }
  const text = (await readInput(cli, options.file ?? '-', max)).replace(/\r?\n$/, '')
  if (text === '') throw usage('the password is empty')
  return text
}

/** Asks on the terminal without an echo. The question goes to stderr: stdout may be a pipe. */
async function prompt(cli: Cli, question: string): Promise<string> {
  // readline edits the line and would show it on its output: it is given one that shows nothing.
  const output = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: cli.stdin, output, terminal: true, historySize: 0 })
  // Only now: the terminal has stopped to echo, also for somebody who types ahead.
  cli.stderr.write(`${question}: `)
  try {
    return await new Promise<string>((resolve, reject) => {
      const none = () => reject(usage('no password was given'))
      lines.once('line', resolve)
      lines.once('SIGINT', none)
      lines.once('close', none)
    })
  } finally {
    lines.close()
    cli.stderr.write('\n')
  }
}
