/**
 * The user's side of a resumable stream: when its leg breaks, or its tunnel is about to, another one is made over whatever proxy
 * answers, for as long as the agent keeps the stream (protocols.md 8).
 */
import { sleep, type Clock } from '../../core/clock.ts'
import { AppError, toAppError, type ErrorCode } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Random } from '../../core/random.ts'
import { proofRecord } from '../../core/tunnel/resume-codec.ts'
import {
  newNonce,
  readResumed,
  resumeMac,
  type Resume,
} from '../../core/tunnel/resume-handshake.ts'
import { ResumableStream } from '../../core/tunnel/resume.ts'
import type { TunnelStream } from '../../core/tunnel/stream.ts'
import { createWindowBudget } from '../../core/tunnel/window-budget.ts'
import { stayAwake } from '../../net/stay-awake.ts'
import type { HeldTunnel } from './tunnels.ts'

export interface ResumeDeps {
  readonly sid: string
  readonly key: Buffer
  readonly clock: Clock
  readonly random: Random
  readonly signal: AbortSignal
  /** One OPEN that asks to resume, over any tunnel. Rejects with what it was refused with. */
  reopen(
    ask: Pick<Resume, 'sid' | 'epoch' | 'nonce' | 'next'>,
    signal: AbortSignal,
  ): Promise<{ leg: TunnelStream; on: HeldTunnel }>
  /** The stream goes on over another leg. */
  onResumed?: (() => void) | undefined
}

/** Longest pause between two tries, ms: of a stream that stands still, the first and any, and of one that still works. */
const FIRST_PAUSE = 100
const PAUSE = 500
const PATIENT_PAUSE = 2_000
/** The agent does not have the stream any more: trying again is in vain, whatever else the code may mean. */
const FINAL: ReadonlySet<ErrorCode> = new Set(['ERR_STREAM_RESET'])

const processBudget = createWindowBudget(LIMITS.replayProcess.value)

/** Takes an open leg; what comes back is the stream for good. Not started. */
export function keepResumable(
  first: { readonly leg: TunnelStream; readonly on: HeldTunnel },
  deps: ResumeDeps,
): TunnelStream {
  const { sid, key, clock, random } = deps
  const over = new AbortController()
  const signal = AbortSignal.any([over.signal, deps.signal])
  let epoch = 0
  let moving = false
  /** The tunnel of its leg is about to end. */
  let leaving = false
  /** Ends a pause. */
  let wake = new AbortController()
  const stream = new ResumableStream({
    clock,
    budget: processBudget,
    onbroken() {
      wake.abort()
      void move()
    },
    onsettled: () => over.abort(),
    onfailed: () => over.abort(),
  })

  /** `ms`: how long this try may take. */
  async function reattach(ms: number): Promise<void> {
    epoch += 1
    const userNonce = newNonce(random)
    const asked = { sid, epoch, userNonce, userNext: stream.next }
    const late = new AbortController()
    const timer = clock.after(ms, () => late.abort(new AppError('ERR_TIMEOUT')))
    try {
      const { leg, on } = await deps.reopen(
        { sid, epoch, nonce: userNonce, next: asked.userNext },
        AbortSignal.any([signal, late.signal]),
      )
      try {
        const facts = readResumed(leg.payload, key, asked)
        if (over.signal.aborted) throw new AppError('ERR_STREAM_RESET')
        const proof = proofRecord(resumeMac(key, 'user', facts))
        follow(on)
        stream.attach(leg, { peerNext: facts.agentNext, proof })
      } catch (e) {
        leg.reset()
        throw e
      }
    } finally {
      timer.cancel()
    }
  }

  /** Until the stream has a leg again, or is refused for good. The stream itself knows when it has waited long enough. */
  async function move(): Promise<void> {
    if (moving || signal.aborted) return
    moving = true
    const rest = stayAwake()
    let tries = 0
    let slow = 0
    try {
      while (stream.broken || leaving)
        try {
          // After one that took too long the next may take longer: machines that were too busy for it are so for the next as well.
          await reattach(Math.min(LIMITS.openTimeout.value, LIMITS.resumeAttempt.value * 2 ** slow))
          tries = slow = 0
          deps.onResumed?.()
        } catch (e) {
          const error = toAppError(e)
          if (signal.aborted) return
          if (!error.kind.retryable || FINAL.has(error.code)) {
            // A leg that still works is not given up for a new one that was refused.
            leaving = false
            if (stream.broken) stream.reset(error.code, error.message)
            return
          }
          wake = new AbortController()
          if (error.code === 'ERR_TIMEOUT') slow++
          const longest = stream.broken
            ? Math.min(PAUSE, FIRST_PAUSE * 2 ** tries++)
            : PATIENT_PAUSE
          const ms = random.float() * longest
          await sleep(clock, ms, AbortSignal.any([signal, wake.signal])).catch(() => undefined)
          signal.throwIfAborted()
        }
    } catch {
      // The session or the stream has ended.
    } finally {
      moving = false
      rest()
    }
  }

  let unfollow: (() => void) | undefined
  function follow(on: HeldTunnel): void {
    unfollow?.()
    // It may have been told while this stream was still being opened.
    leaving = on.leaving
    const onLeaving = (): void => {
      leaving = true
      void move()
    }
    on.onLeaving.add(onLeaving)
    unfollow = () => on.onLeaving.delete(onLeaving)
  }
  over.signal.addEventListener('abort', () => unfollow?.(), { once: true })
  // Without a word the agent would keep the stream for somebody who does not come back.
  const leave = (): void => stream.reset('ERR_STREAM_RESET', 'the user has gone')
  deps.signal.addEventListener('abort', leave, { once: true })
  over.signal.addEventListener('abort', () => deps.signal.removeEventListener('abort', leave), {
    once: true,
  })

  follow(first.on)
  stream.attach(first.leg, { peerNext: 0 })
  if (leaving) void move()
  return stream
}
