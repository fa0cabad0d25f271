/**
 * What a proxy opens on our tunnel: a user's stream for the service, or the policy. Each OPEN is decoded, checked and answered by
 * itself; nothing in one can harm another.
 */
import { reasonOf, toAppError } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics/metrics.ts'
import { toDuplex } from '../../core/tunnel/duplex.ts'
import { decodeOpen, untrustedStream, type ResourceOpen } from '../../core/tunnel/open.ts'
import type { TunnelStream } from '../../core/tunnel/stream.ts'
import { POLICY_TOKEN_MAX } from '../policy/document.ts'
import type { PolicyRefresh } from '../policy/refresh.ts'
import type { AgentService, ServiceContext } from '../services/service.ts'
import { RESUME_TYP } from '../../core/tunnel/resume-handshake.ts'
import { untrustedTyp } from '../../core/tunnel/user-jws.ts'
import { admit, type Refused } from './admit.ts'
import { createResumableStreams, type ResumableDeps } from './resumable.ts'

export interface DispatchOptions extends Omit<ResumableDeps, 'service'> {
  readonly service: AgentService
  readonly refresh: Pick<PolicyRefresh, 'pushed' | 'doubt'>
  readonly log: Log
  readonly metrics: Pick<Metrics, 'inc'>
  audit: ServiceContext['audit']
  /** A proxy said how many there are. */
  onProxies(count: number): void
  /** Ends every stream when it aborts. */
  readonly signal: AbortSignal
}

export interface Dispatch {
  /** The tunnel's. */
  onOpen(stream: TunnelStream, payload: Buffer): Promise<void>
  /** Streams wait for the next tunnel. */
  readonly waiting: boolean
}

export function createDispatch(options: DispatchOptions): Dispatch {
  const { kind, service, refresh, log, metrics, audit, signal } = options
  const resumables = createResumableStreams(options)

  async function take(stream: TunnelStream, payload: Buffer): Promise<void> {
    const open = decodeOpen(payload)
    if (open.kind === 'policy') {
      if (open.proxies !== undefined) options.onProxies(open.proxies)
      return receive(stream)
    }
    const resumes = untrustedTyp(open.offer) === RESUME_TYP
    const refused = resumes ? await resumables.resume(stream, open) : await begin(stream, open)
    if (refused) report(refused, open)
    else if (resumes) metrics.inc('postern_agent_streams_resumed_total', { service: kind })
  }

  async function begin(stream: TunnelStream, open: ResourceOpen): Promise<Refused | undefined> {
    const admission = await admit(open, options)
    if (stream.state !== 'offered') return undefined
    if (!admission.ok) {
      stream.refuse(admission.error.code, admission.error.message)
      return admission
    }
    const { offer, resumable } = admission
    const ends = resumable
      ? await resumables.accept(stream, { jws: open.offer, claims: offer }, admission.stream)
      : stream
    if (!ends) return undefined
    if (!resumable) stream.accept()
    metrics.inc('postern_agent_streams_admitted_total', { service: kind })
    const { sessionId: session, streamId, identity, resource } = admission.stream
    log.info('stream.admitted', {
      session,
      stream: streamId,
      user: identity.user,
      resource: `${resource.kind}/${resource.name}`,
    })
    await service.serve({ ...admission.stream, duplex: toDuplex(ends) }, signal)
    return undefined
  }

  // What could not be proven about the caller is not written as if it were a name.
  function report({ error, user, resource }: Refused, open: ResourceOpen): void {
    metrics.inc('postern_agent_streams_refused_total', { service: kind, code: error.code })
    audit({
      type: 'session.refused',
      outcome: 'refused',
      actor: user ?? 'unproven',
      resource,
      session: undefined,
      reason: reasonOf(error),
      fields: {
        ...(open.peer && { claimed_source: open.peer.ip }),
        // As the proxy's log has it; proven only when the user is.
        ...(user !== undefined && { stream: untrustedStream(open.offer).id ?? null }),
      },
    })
  }

  /** Reads a signed object to its end, within the size of the largest. */
  function receive(stream: TunnelStream): void {
    const parts: Buffer[] = []
    let size = 0
    stream.accept()
    stream.ondata = (bytes) => {
      size += bytes.length
      if (size > POLICY_TOKEN_MAX) return stream.reset('ERR_INPUT_TOO_LARGE')
      parts.push(bytes)
      stream.consumed(bytes.length)
    }
    stream.onend = () => {
      const tokens = Buffer.concat(parts).toString('latin1').split('\n').filter(Boolean)
      // Answered when it is in force, so that the proxy knows how long a lock took to arrive.
      void refresh.pushed(tokens).then(() => stream.end())
    }
    stream.start()
  }

  return {
    get waiting() {
      return resumables.waiting
    },
    onOpen(stream, payload) {
      return take(stream, payload).catch((e: unknown) => {
        const error = toAppError(e)
        log.warn('stream.refused', { code: error.code, reason: reasonOf(error) })
        if (stream.state === 'offered') stream.refuse(error.code, error.message)
        else stream.reset('ERR_INTERNAL')
      })
    },
  }
}
