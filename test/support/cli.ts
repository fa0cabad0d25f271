/** A command's surroundings without a process: what it prints is kept, time and environment are given. */
import { PassThrough } from 'node:stream'
import type { Cli } from '../../cli/cli.ts'
import { readEnv } from '../../cli/env.ts'
import { systemClock, type Clock } from '../../core/clock.ts'
import { systemRandom } from '../../core/random.ts'

export interface StubCli extends Cli {
  readonly lines: readonly string[]
}

export function stubCli(options: {
  readonly home: string
  readonly clock?: Clock
  readonly env?: Readonly<Record<string, string>>
}): StubCli {
  const lines: string[] = []
  const stream = new PassThrough() as unknown as NodeJS.WriteStream
  return {
    env: readEnv({ HOME: options.home, ...options.env }),
    cwd: options.home,
    home: `${options.home}/.postern`,
    self: {
      node: process.execPath,
      script: '/usr/local/lib/postern/bin/postern.mjs',
      program: '/usr/local/lib/postern/dist/postern.mjs',
    },
    stdin: stream as unknown as NodeJS.ReadStream,
    stdout: stream,
    stderr: stream,
    clock: options.clock ?? systemClock,
    random: systemRandom,
    out: (line) => void lines.push(line),
    note: () => undefined,
    lines,
  }
}
