/**
 * Is the peer still there? Ping after silence, dead after more silence, dead when it takes no bytes, suspect when traffic
 * waits and a probe is not answered. One timer for all of it, set for the next moment that can matter, so that ten thousand
 * idle tunnels cost next to nothing.
 */
import { AppError } from '../errors.ts'
import type { Clock, Timer } from '../clock.ts'
import type { TunnelLimits } from './tunnel-limits.ts'

/** Part of the time after which a tunnel is suspect that data may pause before the peer is asked whether it is still there. */
const PAUSE = 0.5

/** Looks in the time after which a tunnel is suspect: so much sooner is it seen that something is to be asked for again. */
const LOOKS = 10

export interface KeepAliveOptions {
  readonly clock: Clock
  readonly limits: Pick<TunnelLimits, 'pingIdle' | 'deadAfter' | 'suspectAfter' | 'writeTimeout'>
  /** Bytes the transport still holds. */
  buffered(): number
  /** An answer of the peer is due: it is looked at until it has come, and not only until it was alive once. */
  awaits(): boolean
  /** Sends a PING; `answered` is called when its answer comes, if it comes. */
  ping(answered: () => void): void
  dead(reason: AppError): void
  suspect(suspect: boolean): void
}

export class KeepAlive {
  readonly #o: KeepAliveOptions
  #heard: number
  #pinged: number
  #progress: number
  #timer: Timer | undefined
  #watch: Timer | undefined
  /** When we first sent something since the peer was last heard, and when we last did. */
  #unheard: number | undefined
  #sent = -Infinity
  /** When the next look is due. */
  #due = 0
  /** When the last probe went out, and whether it was answered. */
  #probed = -Infinity
  #answered = true
  /** Data came, and more may. */
  #flows = false
  #suspected = false

  constructor(options: KeepAliveOptions) {
    this.#o = options
    this.#heard = this.#pinged = this.#progress = options.clock.monotonic()
    this.#check()
  }

  /** The peer sent something. */
  received(): void {
    this.#heard = this.#o.clock.monotonic()
    this.#unheard = undefined
    if (!this.#suspected) return
    this.#suspected = false
    this.#o.suspect(false)
  }

  /** We sent something that the peer should show signs of life for. */
  sent(): void {
    this.#sent = this.#o.clock.monotonic()
    this.#unheard ??= this.#sent
    if (!this.#watch) this.#probe(this.#sent)
  }

  /**
   * The peer sent data of a stream. Who only receives sends nothing that would tell when the path breaks, and its peer, which can
   * tell, may have no way left to say so: when data pauses the peer is asked, once.
   */
  flowing(): void {
    this.#flows = true
    if (!this.#watch) this.#look(this.#o.clock.monotonic())
  }

  /** Asks for a sign of life behind all that was sent, and looks again in a while. */
  #probe(now: number): void {
    this.#answered = false
    this.#probed = now
    this.#unheard ??= now
    this.#o.ping(() => {
      if (now === this.#probed) this.#answered = true
    })
    this.#look(now)
  }

  #look(now: number): void {
    const { suspectAfter } = this.#o.limits
    const silent = this.#unheard === undefined ? 0 : now - this.#unheard
    const due =
      silent < suspectAfter ? Math.min(suspectAfter / LOOKS, suspectAfter - silent) : suspectAfter
    const ms = Math.ceil(due)
    this.#due = now + ms
    this.#watch = this.#o.clock.after(ms, () => this.#watched())
  }

  /** The transport held nothing before, or gave something to the network. */
  progressed(): void {
    this.#progress = this.#o.clock.monotonic()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#watch?.cancel()
  }

  #watched(): void {
    this.#watch = undefined
    const now = this.#o.clock.monotonic()
    // A look that comes much too late tells of a process that stood still, not of its peer, whose answer may be waiting to be read.
    const stoodStill = now - this.#due >= this.#o.limits.suspectAfter / 2
    if (stoodStill && this.#unheard !== undefined && !this.#suspected) {
      this.#unheard = now
      return this.#probe(now)
    }
    if (this.#unheard !== undefined && now - this.#unheard >= this.#o.limits.suspectAfter) {
      this.#look(now)
      if (this.#suspected) return
      this.#suspected = true
      return this.#o.suspect(true)
    }
    const due = !this.#answered || this.#sent > this.#probed
    // Alive a moment ago, and no more: what was heard may have been on its way when the path broke, and a sender whose windows
    // are full sends nothing that would tell. So until a probe behind all that was sent is answered, there is another.
    if (due && (this.#unheard === undefined || this.#unheard > this.#probed)) this.#probe(now)
    else if (due) this.#look(now)
    // Who waits for the answer to an OPEN would wait in vain when the path breaks behind an answered probe.
    else if (this.#o.awaits())
      if (now - this.#probed >= this.#o.limits.suspectAfter) this.#probe(now)
      else this.#look(now)
    else if (this.#flows)
      if (now - this.#heard >= this.#o.limits.suspectAfter * PAUSE) this.#paused(now)
      else this.#look(now)
  }

  #paused(now: number): void {
    this.#flows = false
    this.#probe(now)
  }

  #check(): void {
    const { pingIdle, deadAfter, writeTimeout } = this.#o.limits
    const now = this.#o.clock.monotonic()
    const stuck = this.#o.buffered() > 0
    if (now - this.#heard >= deadAfter) return this.#o.dead(silent(now - this.#heard))
    if (stuck && now - this.#progress >= writeTimeout)
      return this.#o.dead(notReading(now - this.#progress))
    if (now - Math.max(this.#heard, this.#pinged) >= pingIdle) {
      this.#pinged = now
      // Nothing waits, but an answer is due: whoever does not give it is looked at as if something did.
      if (this.#watch) this.#o.ping(() => undefined)
      else this.#probe(now)
    }
    const due = Math.min(
      Math.max(this.#heard, this.#pinged) + pingIdle,
      this.#heard + deadAfter,
      stuck ? this.#progress + writeTimeout : Infinity,
    )
    this.#timer = this.#o.clock.after(Math.max(1, Math.ceil(due - now)), () => this.#check())
  }
}

const silent = (ms: number) =>
  new AppError('ERR_TUNNEL_CLOSED', 'The other end went silent', {
    internal: `nothing heard for ${Math.round(ms)} ms`,
  })
const notReading = (ms: number) =>
  new AppError('ERR_TUNNEL_CLOSED', 'The other end takes no data', {
    internal: `no byte taken for ${Math.round(ms)} ms`,
  })
