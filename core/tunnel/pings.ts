/**
 * Pings in flight, and the round trip they measure: the smallest of the last five to ten minutes. The smallest, because a sample taken under load holds our own
 * queue and would let windows grow without need; forgotten in the end, because paths change.
 */
import type { AppError } from '../errors.ts'
import type { Clock } from '../clock.ts'
import { protocolError } from './codec.ts'

const BUCKET_MS = 5 * 60_000
/** Pings, one after another, when a session begins: at most so many. */
const SAMPLES = 5
/** An answer that took more than this part of the one before says that the path, and not a process that just began, is measured. */
const SETTLED = 0.7

interface Waiting {
  readonly sentAt: number
  resolve(ms: number): void
  reject(err: AppError): void
}

export class Pings {
  readonly #clock: Clock
  readonly #write: (token: number) => void
  readonly #waiting = new Map<number, Waiting>()
  #next = 0
  #since: number
  #smallest = Infinity
  #smallestBefore = Infinity

  constructor(clock: Clock, write: (token: number) => void) {
    this.#clock = clock
    this.#write = write
    this.#since = clock.monotonic()
  }

  /** Milliseconds; Infinity before the first answer. */
  get rtt(): number {
    return Math.min(this.#smallest, this.#smallestBefore)
  }

  send(): Promise<number> {
    return new Promise((resolve, reject) => this.#send(resolve, reject))
  }

  /** As `send`, for whoever must know in the same turn, and only of an answer. */
  probe(answered: () => void): void {
    this.#send(answered, () => undefined)
  }

  #send(resolve: Waiting['resolve'], reject: Waiting['reject']): void {
    const token = this.#next
    this.#next = (token + 1) >>> 0
    this.#waiting.set(token, { sentAt: this.#clock.monotonic(), resolve, reject })
    this.#write(token)
  }

  /**
   * Measures the unloaded round trip when a session begins: several times, as the first answers of a young process are far too slow,
   * until one is no longer much faster than the one before. Ten thousand tunnels that come back together should not ask in vain.
   */
  measure(samples = SAMPLES, before = Infinity): void {
    if (samples === 0) return
    this.send().then(
      (ms) => {
        if (ms <= before * SETTLED) this.measure(samples - 1, ms)
      },
      () => undefined,
    )
  }

  /** A REPLY arrived; the violation when nobody asked. */
  answered(token: number): AppError | undefined {
    const ping = this.#waiting.get(token)
    if (!ping) return protocolError(`answer to ping ${token}, which was never sent`)
    this.#waiting.delete(token)
    const now = this.#clock.monotonic()
    this.#sample(now - ping.sentAt, now)
    ping.resolve(now - ping.sentAt)
    return undefined
  }

  close(why: AppError): void {
    for (const ping of this.#waiting.values()) ping.reject(why)
    this.#waiting.clear()
  }

  #sample(ms: number, now: number): void {
    if (now - this.#since >= BUCKET_MS) {
      this.#smallestBefore = this.#smallest
      this.#smallest = Infinity
      this.#since = now
    }
    this.#smallest = Math.min(this.#smallest, ms)
  }
}
