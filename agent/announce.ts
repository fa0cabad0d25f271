/** Tells the control plane what a service serves: once at the start, then on change, at most once a minute. */
import type { Announcement } from '../core/domain/resource.ts'
import { sleep, type Clock } from '../core/clock.ts'
import { toAppError, type AppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Random } from '../core/random.ts'
import { backoff } from './retry.ts'

export type Announced = Announcement['resources']

export interface AnnouncerOptions {
  /** As it is now. */
  resources(): Announced
  send(resources: Announced, signal: AbortSignal): Promise<void>
  /** A name that another agent holds, or another refusal. It is tried again. */
  onRefused(error: AppError): void
  onRetry(error: AppError): void
  /** After every acknowledged announcement. */
  onDone(): void
  readonly clock: Clock
  readonly random: Random
  readonly signal: AbortSignal
}

export interface Announcer {
  /** Something may have changed. `now` is for a person's change of the configuration; labels of commands wait their minute. */
  changed(now?: boolean): void
  run(): Promise<void>
}

export function createAnnouncer(options: AnnouncerOptions): Announcer {
  const { clock, random, signal } = options
  let done: string | undefined
  let hurry = false
  let onChange: (() => void) | undefined

  /** Resolves when `ready` holds after a change, after `ms` if given, or when the signal aborts. */
  const wait = (ready: () => boolean, ms?: number): Promise<void> =>
    new Promise((resolve) => {
      const finish = (): void => {
        timer?.cancel()
        onChange = undefined
        signal.removeEventListener('abort', finish)
        resolve()
      }
      const timer = ms === undefined ? undefined : clock.after(ms, finish)
      onChange = () => {
        if (ready()) finish()
      }
      signal.addEventListener('abort', finish, { once: true })
      if (signal.aborted || ready()) finish()
    })

  return {
    changed(now = false) {
      hurry ||= now
      onChange?.()
    },

    async run() {
      let failures = 0
      while (!signal.aborted) {
        const resources = options.resources()
        const text = JSON.stringify(resources)
        hurry = false
        if (text === done) {
          await wait(() => JSON.stringify(options.resources()) !== done)
          continue
        }
        try {
          await options.send(resources, signal)
          options.onDone()
          done = text
          failures = 0
        } catch (e) {
          if (signal.aborted) return
          const error = toAppError(e)
          if (error.kind.retryable) {
            failures += 1
            options.onRetry(error)
            await sleep(clock, backoff(failures, random), signal).catch(() => undefined)
            continue
          }
          // Somebody else has to act (remove the other holder of the name): asked again after the pause.
          options.onRefused(error)
        }
        await wait(() => hurry, LIMITS.announceInterval.value)
      }
    },
  }
}
