/**
 * Vitest's forks, with one thing added: when the process of a test file dies, vitest says only that one did; this says whose it
 * was, of what (signal or exit code) and its last words, which is all that is left when it happens once on another machine.
 */
import type { ChildProcess } from 'node:child_process'
import { relative } from 'node:path'
import {
  ForksPoolWorker,
  type PoolOptions,
  type PoolRunnerInitializer,
  type WorkerRequest,
} from 'vitest/node'

/** The event at `process`, with a `Death`; totals-reporter.ts tells of it at the end. */
export const TEST_PROCESS_DIED = 'postern:test-process-died'
export interface Death {
  readonly files: readonly string[]
  readonly how: string
  /** The end of what it wrote on stderr: a failed assertion of Node's own stands there. */
  readonly lastWords: () => string
}

const LAST_WORDS = 4_000

class NamedFork extends ForksPoolWorker {
  private files: readonly string[] = []
  private lastWords = ''
  private stopping = false

  override async start(): Promise<void> {
    await super.start()
    const { _fork } = this as unknown as { readonly _fork: ChildProcess }
    _fork.stderr?.on('data', (chunk: Buffer) => {
      this.lastWords = (this.lastWords + chunk.toString('utf8')).slice(-LAST_WORDS)
    })
    // Not 'close', which waits for whoever has inherited its stderr.
    _fork.once('exit', (code: number | null, signal: NodeJS.Signals | null) => {
      if (this.stopping) return
      const lastWords = (): string => this.lastWords
      const death: Death = { files: this.files, how: signal ?? `exit code ${code}`, lastWords }
      process.emit(TEST_PROCESS_DIED as never, death as never)
    })
  }

  override send(message: WorkerRequest): void {
    if (message.type === 'run' || message.type === 'collect')
      this.files = message.context.files.map((file) => relative('', file.filepath))
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
