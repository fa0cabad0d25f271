/**
 * Vitest's forks, with one thing added: when the process of a test file dies, vitest says only that one did; this says whose it
 * was and of what (signal or exit code), which is all that is left of it when it happens once on somebody else's machine.
 */
import { relative } from 'node:path'
import {
  ForksPoolWorker,
  type PoolOptions,
  type PoolRunnerInitializer,
  type WorkerRequest,
} from 'vitest/node'

/** The event at `process`, with a sentence; totals-reporter.ts repeats it at the end. */
export const TEST_PROCESS_DIED = 'postern:test-process-died'

class NamedFork extends ForksPoolWorker {
  private files = 'no file yet'
  private stopping = false

  override async start(): Promise<void> {
    await super.start()
    const ended = (code: number | null, signal?: NodeJS.Signals | null): void => {
      if (this.stopping) return
      const said = `the test process of ${this.files} died: ${signal ?? `exit code ${code}`}`
      process.stderr.write(`\n${said}\n`)
      process.emit(TEST_PROCESS_DIED as never, said as never)
    }
    this.on('exit', ended)
  }

  override send(message: WorkerRequest): void {
    if (message.type === 'run' || message.type === 'collect')
      this.files = message.context.files.map((file) => relative('', file.filepath)).join(', ')
    super.send(message)
  }

  override stop(): Promise<void> {
    this.stopping = true
    return super.stop()
  }
}

export const namedForks: PoolRunnerInitializer = {
  name: 'named-forks',
  createPoolWorker: (options: PoolOptions) => new NamedFork(options),
}
