/**
 * The streams of one service that can be resumed, and who may do it: the user who opened one, while the policy still allows it,
 * with the key that only that user's side and this agent have (protocols.md 8). Whatever is wrong reads the same to the caller.
 */
import type { Timer } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { OwnIdentity } from '../../core/tunnel/handshake.ts'
import type { Offer, ResourceOpen } from '../../core/tunnel/open.ts'
import { ResumableStream } from '../../core/tunnel/resume.ts'
import { takeProof } from '../../core/tunnel/resume-codec.ts'
import {
  acceptOffer,
  encodeResumed,
  macHolds,
  newNonce,
  verifyResume,
  type ResumeFacts,
} from '../../core/tunnel/resume-handshake.ts'
import type { TunnelStream } from '../../core/tunnel/stream.ts'
import type { WindowBudget } from '../../core/tunnel/window-budget.ts'
import type { Log } from '../../core/log.ts'
import type { UserIdentity } from '../services/service.ts'
import {
  mayReach,
  onlyOnce,
  refused,
  routeHere,
  type Admitted,
  type AdmitOptions,
  type Refused,
} from './admit.ts'

export interface ResumableDeps extends AdmitOptions {
  identity(): OwnIdentity
  /** What unacknowledged bytes may hold in this process. */
  readonly replayBudget: WindowBudget
  readonly log: Log
}

interface Entry {
  readonly stream: ResumableStream
  readonly key: Buffer
  readonly admitted: Admitted
  /** That of the leg in use. */
  epoch: number
}

export interface ResumableStreams {
  /** Some stream waits for its next leg. */
  readonly waiting: boolean
  /** Accepts a stream that was admitted; what comes back is what the service gets. */
  accept(
    leg: TunnelStream,
    open: { readonly jws: string; readonly claims: Offer },
    admitted: Admitted,
  ): Promise<ResumableStream | undefined>
  /** Answers an OPEN that resumes. The answer is what to write into the audit log when it was refused. */
  resume(leg: TunnelStream, open: ResourceOpen): Promise<Refused | undefined>
}

/** The same for a stream that is unknown, over, or somebody else's. */
const gone = (internal: string): AppError =>
  new AppError('ERR_STREAM_RESET', 'The stream cannot be resumed', {
    internal: `resume: ${internal}`,
  })

export function createResumableStreams(deps: ResumableDeps): ResumableStreams {
  const { clock, random, cluster, kind, keeper, log } = deps
  const entries = new Map<string, Entry>()

  async function check(
    leg: TunnelStream,
    open: ResourceOpen,
    known: { user?: UserIdentity; resource?: Admitted['resource'] },
  ): Promise<void> {
    const route = await routeHere(open, deps)
    known.resource = route.resource
    const { identity, claims } = await verifyResume(open.offer, {
      cluster,
      route: open.route,
      userCas: keeper.userCas(),
      now: clock.now(),
    })
    known.user = identity
    onlyOnce(deps.replay, claims.nonce, claims.exp)
    const entry = entries.get(claims.sid)
    if (!entry) throw gone('unknown stream')
    const { admitted } = entry
    if (identity.user !== admitted.identity.user) throw gone('a stream of another user')
    const same = [claims.resource, admitted.resource].every(
      (r) => r.kind === route.resource.kind && r.name === route.resource.name,
    )
    if (!same || claims.kind !== kind) throw gone('a stream to another resource')
    if (claims.epoch <= entry.epoch) throw gone(`epoch ${claims.epoch} after ${entry.epoch}`)
    // Both: the certificate of now, and the one that the session was opened with.
    await mayReach(identity, admitted.resource, deps)
    await mayReach(admitted.identity, admitted.resource, deps)
    if (leg.state !== 'offered') return
    const facts: ResumeFacts = {
      sid: claims.sid,
      epoch: claims.epoch,
      userNonce: claims.nonce,
      agentNonce: newNonce(random),
      userNext: claims.next,
      agentNext: entry.stream.next,
    }
    leg.accept(encodeResumed(entry.key, facts))
    const early = await proof(leg, entry.key, facts)
    // While the proof was on its way another leg may have come first, or the stream may have ended.
    if (claims.epoch <= entry.epoch || entries.get(claims.sid) !== entry) throw gone('superseded')
    entry.epoch = claims.epoch
    entry.stream.attach(leg, { peerNext: claims.next, early: early() })
    log.info('stream.resumed', { session: admitted.sessionId, epoch: claims.epoch })
  }

  /** The first record of a resumed leg; the answer gives what came behind it until it is asked for. */
  function proof(leg: TunnelStream, key: Buffer, facts: ResumeFacts): Promise<() => Buffer> {
    return new Promise((resolve, reject) => {
      let proven = false
      const parts: Buffer[] = []
      const timer = clock.after(LIMITS.handshakeTimeout.value, () =>
        reject(new AppError('ERR_TIMEOUT')),
      )
      const fail = (error: AppError): void => {
        timer.cancel()
        reject(error)
      }
      leg.ondata = (bytes) => {
        leg.consumed(bytes.length)
        parts.push(bytes)
        if (proven) return
        const taken = takeProof(Buffer.concat(parts))
        if (!taken) return
        if (taken instanceof AppError) return fail(taken)
        if (!macHolds(taken.mac, key, 'user', facts)) return fail(gone('the proof does not hold'))
        timer.cancel()
        proven = true
        parts.splice(0, parts.length, taken.rest)
        resolve(() => Buffer.concat(parts))
      }
      leg.onend = () => fail(new AppError('ERR_STREAM_RESET'))
      leg.onclose = (err) => fail(err ?? new AppError('ERR_STREAM_RESET'))
      leg.start()
    })
  }

  return {
    get waiting() {
      return [...entries.values()].some(({ stream }) => stream.broken)
    },

    async accept(leg, open, admitted) {
      const sid = open.claims.sid
      const by = { identity: deps.identity(), cluster, now: clock.now() }
      const { payload, key } = await acceptOffer(open, by)
      if (leg.state !== 'offered') return undefined
      let linger: Timer | undefined
      const forget = (): void => {
        linger?.cancel()
        entries.delete(sid)
      }
      const stream = new ResumableStream({
        clock,
        budget: deps.replayBudget,
        onbroken: (err) =>
          log.info('stream.broken', { session: admitted.sessionId, reason: err?.internal }),
        // The user's side may not have heard that we have everything: it may ask once more.
        onsettled(clean) {
          if (clean) return forget()
          linger ??= clock.after(LIMITS.resumeWindow.value, forget)
        },
        onfailed: forget,
      })
      entries.set(sid, { stream, key, admitted, epoch: 0 })
      leg.accept(payload)
      stream.attach(leg, { peerNext: 0 })
      return stream
    },

    async resume(leg, open) {
      const known: { user?: UserIdentity; resource?: Admitted['resource'] } = {}
      try {
        await check(leg, open, known)
        return undefined
      } catch (e) {
        const refusal = refused(e, known.user, known.resource)
        leg.reset(refusal.error.code, refusal.error.message)
        return refusal
      }
    },
  }
}
