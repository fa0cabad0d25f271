/**
 * Labels from commands: each program runs now and then, its first line of output is the label's value. It gets a clean
 * environment, a deadline and a cap, and what it prints is cut to what a label may hold.
 */
import { spawn } from 'node:child_process'
import { sleep, type Clock } from '../core/clock.ts'
import { LIMITS } from '../core/limits.ts'
import type { Labels } from '../core/domain/name.ts'
import type { Log } from '../core/log.ts'
import type { CommandLabel } from './config.ts'

export interface CommandLabels {
  /** As they are now; a label whose command never succeeded is absent. */
  values(): Labels
  /** Stops the commands that are not wanted any more and starts those that are new. */
  update(commands: readonly CommandLabel[]): void
  stop(): void
}

export interface CommandLabelsOptions {
  readonly clock: Clock
  readonly log: Log
  readonly path: string | undefined
  /** A value changed, appeared or went. */
  onChange(): void
}

/** First line of the output; undefined when it failed, ran too long or printed nothing. */
export function runCommand(
  command: readonly string[],
  options: { clock: Clock; path: string | undefined; signal: AbortSignal },
): Promise<string | undefined> {
  const [program = '', ...args] = command
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { PATH: options.path ?? '/usr/local/bin:/usr/bin:/bin', LANG: 'C' },
      cwd: '/',
      // A group of its own, so that what it started dies with it.
      detached: true,
    })
    const kill = (): void => {
      if (child.pid === undefined) return
      try {
        process.kill(-child.pid, 'SIGKILL')
      } catch {
        // It has ended already.
      }
    }
    let out: Buffer = Buffer.alloc(0)
    const timer = options.clock.after(LIMITS.commandLabelTimeout.value, kill)
    const done = (value: string | undefined): void => {
      timer.cancel()
      options.signal.removeEventListener('abort', kill)
      resolve(value)
    }
    options.signal.addEventListener('abort', kill, { once: true })
    child.stdout.on('data', (bytes: Buffer) => {
      const room = LIMITS.commandLabelOutput.value - out.length
      if (room > 0) out = Buffer.concat([out, bytes.subarray(0, room)])
    })
    child.on('error', () => done(undefined))
    child.on('close', (code) => done(code === 0 ? firstLine(out) : undefined))
  })
}

function firstLine(out: Buffer): string | undefined {
  const text = (out.toString('utf8').split('\n')[0] ?? '')

    .replaceAll(/[\u0000-\u001f\u007f\ufffd]/g, '')
    .trim()
  return text === '' ? undefined : text.slice(0, LIMITS.labelValue.value)
}

export function createCommandLabels(options: CommandLabelsOptions): CommandLabels {
  const { clock, log } = options
  const running = new Map<string, { readonly key: string; readonly stop: AbortController }>()
  const values = new Map<string, string>()

  async function run(label: CommandLabel, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const value = await runCommand(label.command, { ...options, signal })
      if (signal.aborted) return
      if (value === undefined) log.warn('label.command_failed', { label: label.name })
      // A failure keeps the last value: a label that flaps would open and close access.
      else if (values.get(label.name) !== value) {
        values.set(label.name, value)
        options.onChange()
      }
      await sleep(clock, label.period, signal).catch(() => undefined)
    }
  }

  return {
    values: () => Object.fromEntries(values),

    update(commands) {
      const wanted = new Map(commands.map((label) => [label.name, label]))
      let changed = false
      for (const [name, { key, stop }] of running) {
        const label = wanted.get(name)
        if (label && JSON.stringify(label) === key) continue
        stop.abort()
        running.delete(name)
        if (!label) changed = values.delete(name) || changed
      }
      for (const [name, label] of wanted) {
        if (running.has(name)) continue
        const stop = new AbortController()
        running.set(name, { key: JSON.stringify(label), stop })
        void run(label, stop.signal)
      }
      if (changed) options.onChange()
    },

    stop() {
      for (const { stop } of running.values()) stop.abort()
      running.clear()
    },
  }
}
