/**
 * Lambda on loopback: execution environments that are processes of their own, started from the very files that would be uploaded, with
 * the environment of the template and the session of their role. One event at a time each, stopped in between, gone at the timeout.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { systemClock } from '../../../core/clock.ts'
import type { DeployedFunction } from './template.ts'

export const PAYLOAD_MAX = 6 * 1024 * 1024

export type Invocation =
  | { readonly kind: 'answer'; readonly value: unknown; readonly ms: number }
  | { readonly kind: 'error' | 'timeout' | 'too large'; readonly message: string }

export interface Lambda {
  invoke(functionArn: string, event: unknown): Promise<Invocation>
  /** By function: how often it was called, and how many environments were started. */
  readonly counts: ReadonlyMap<string, { readonly calls: number; readonly coldStarts: number }>
  /** All that the functions wrote, by function: what CloudWatch would keep. */
  readonly output: ReadonlyMap<string, string>
  close(): Promise<void>
}

interface Environment {
  readonly process: ChildProcess
  busy: boolean
}
interface Message {
  readonly ready?: boolean
  readonly id?: number
  readonly result?: string
  readonly error?: string
}

export function lambda(options: {
  readonly functions: readonly DeployedFunction[]
  /** Variables that the platform adds, by function. */
  readonly platform: (fn: DeployedFunction) => Readonly<Record<string, string>>
  /** File that tells where names of AWS lead. */
  readonly network: string
}): Lambda {
  const pools = new Map<string, Environment[]>()
  const counts = new Map<string, { calls: number; coldStarts: number }>()
  const output = new Map<string, string>()
  let next = 0

  function start(fn: DeployedFunction): Environment {
    const child = fork(
      join(import.meta.dirname, 'lambda-runtime.mjs'),
      [fn.code, fn.handler, options.network],
      {
        env: { PATH: process.env['PATH'], ...options.platform(fn), ...fn.environment },
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
        execArgv: [],
      },
    )
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output.set(fn.name, (output.get(fn.name) ?? '') + text)
      })
    const environment = { process: child, busy: true }
    const pool = pools.get(fn.name) ?? []
    pools.set(fn.name, [...pool, environment])
    child.once('exit', () => {
      pools.set(
        fn.name,
        (pools.get(fn.name) ?? []).filter((e) => e !== environment),
      )
    })
    const count = counts.get(fn.name) ?? { calls: 0, coldStarts: 0 }
    counts.set(fn.name, { ...count, coldStarts: count.coldStarts + 1 })
    return environment
  }

  function take(fn: DeployedFunction): Environment {
    const idle = (pools.get(fn.name) ?? []).find((e) => !e.busy)
    if (!idle) return start(fn)
    idle.busy = true
    idle.process.kill('SIGCONT')
    return idle
  }

  return {
    counts,
    output,
    async invoke(functionArn, event) {
      const fn = options.functions.find((f) => f.arn === functionArn)
      if (!fn) return { kind: 'error', message: `no function ${functionArn}` }
      if (Buffer.byteLength(JSON.stringify(event)) > PAYLOAD_MAX)
        return { kind: 'too large', message: 'request payload' }
      const environment = take(fn)
      const { process: child } = environment
      const count = counts.get(fn.name) ?? { calls: 0, coldStarts: 0 }
      counts.set(fn.name, { ...count, calls: count.calls + 1 })
      const id = ++next
      const began = systemClock.monotonic()
      return new Promise<Invocation>((resolve) => {
        const end = (invocation: Invocation): void => {
          timer.cancel()
          child.off('message', onMessage)
          child.off('exit', onExit)
          // What a function leaves running when it has answered is frozen until its next event.
          if (invocation.kind === 'answer' && child.kill('SIGSTOP')) environment.busy = false
          else child.kill('SIGKILL')
          resolve(invocation)
        }
        const onMessage = (message: Message): void => {
          if (message.id !== id) return
          const ms = systemClock.monotonic() - began
          if (message.error !== undefined) return end({ kind: 'error', message: message.error })
          const text = message.result ?? 'null'
          if (Buffer.byteLength(text) > PAYLOAD_MAX)
            return end({ kind: 'too large', message: 'response payload' })
          end({ kind: 'answer', value: JSON.parse(text), ms })
        }
        const onExit = (): void => end({ kind: 'error', message: 'Runtime exited' })
        const timer = systemClock.after(fn.timeoutMs, () =>
          end({ kind: 'timeout', message: 'Task timed out' }),
        )
        child.on('message', onMessage)
        child.on('exit', onExit)
        const context = {
          functionName: fn.name,
          functionVersion: '$LATEST',
          invokedFunctionArn: fn.arn,
          memoryLimitInMB: '512',
          awsRequestId: `request-${id}`,
        }
        child.send({ id, event, context })
      })
    },
    async close() {
      for (const pool of pools.values())
        for (const { process: child } of pool) child.kill('SIGKILL')
    },
  }
}
