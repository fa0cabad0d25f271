/**
 * Renewal (protocols.md 2): the generation is compared and set in one write. A generation that cannot be explained by a lost
 * answer means that somebody else holds a copy of this identity: the agent is locked, both copies with it. An expired certificate
 * is refused and locks nothing, so an old backup cannot lock a live agent.
 */
import {
  renewPayload,
  type Credentials,
  type RenewPayload,
  type RenewRequest,
} from '../../core/api/join.ts'
import { identityOf } from '../../core/certs/identity.ts'
import { caPin, thumbprint } from '../../core/certs/signer.ts'
import { readCertificate, type Certificate } from '../../core/certs/x509-read.ts'
import { verifyLeaf } from '../../core/certs/x509-verify.ts'
import { fromSeconds, plus, seconds, type Instant } from '../../core/clock.ts'
import type { NewEvent } from '../../core/domain/event.ts'
import { AppError, reasonOf } from '../../core/errors.ts'
import { agentIdOf, newId, type AgentId } from '../../core/ids.ts'
import { checkRenewal, decodeKey } from '../../core/join/messages.ts'
import type { IdentityKind } from '../../core/domain/service.ts'
import { LIMITS } from '../../core/limits.ts'
import { parse } from '../../core/parse.ts'
import { parseJson } from '../../core/strict-json.ts'
import type { JoinDeps } from '../deps.ts'
import { issueAgentCredentials } from './agent-certificates.ts'

/** What is known of a renewal so far, for the audit log. */
export interface RenewTrace {
  agent?: string
  service?: string
  generation?: number
  again?: boolean
  /** Set when this renewal locked the agent. */
  lock?: string
  expires?: Instant
  /** It is in the audit log already: written in one transaction with the renewal. */
  logged?: boolean
}

const refuse = (internal: string, message?: string): AppError =>
  new AppError('ERR_RENEWAL_REFUSED', message, { internal })

export interface Renewer {
  /** `told`: the event of a renewal that succeeded. */
  renew(
    request: RenewRequest,
    trace: RenewTrace,
    told: (trace: RenewTrace) => NewEvent,
  ): Promise<Credentials>
}

interface Renewing {
  readonly agentId: AgentId
  readonly service: IdentityKind
}

/** Whose certificate it is. One that has run out is still known by its signature: the audit log names it. */
function agentOf(
  deps: JoinDeps,
  payload: RenewPayload,
  now: Instant,
): { certificate: Certificate; identity: Renewing } {
  let certificate: Certificate
  try {
    certificate = readCertificate(Buffer.from(payload.certificate, 'base64url'))
    const inLife = now < certificate.notAfter ? now : plus(certificate.notAfter, -1)
    verifyLeaf(certificate, { roots: deps.cas.now.host, now: inLife, usage: 'client' })
  } catch (cause) {
    throw new AppError('ERR_RENEWAL_REFUSED', undefined, { cause, internal: reasonOf(cause) })
  }
  const identity = identityOf(certificate)
  if (identity.kind === 'user' || identity.cluster !== deps.cluster)
    throw refuse('the certificate is not of an agent or proxy of this cluster')
  return {
    certificate,
    identity:
      identity.kind === 'agent'
        ? identity
        : { agentId: agentIdOf(identity.proxyId), service: 'proxy' },
  }
}

function checkTime(time: number, now: Instant): void {
  if (Math.abs(now - fromSeconds(time)) <= LIMITS.proofWindow.value) return
  throw new AppError('ERR_CLOCK', undefined, {
    details: { serverTime: now },
    internal: `off by ${Math.round((fromSeconds(time) - now) / 1000)} s`,
  })
}

export function createRenewer(deps: JoinDeps): Renewer {
  const { clock, random, stores } = deps

  async function lockCopied(identity: Renewing, trace: RenewTrace): Promise<never> {
    const now = clock.now()
    const lock = newId('lock', now, random)
    await stores.locks.create({
      id: lock,
      target: { kind: 'agent', agent: identity.agentId },
      message: 'its identity was copied: two machines renewed the same generation',
      created: now,
      createdBy: 'postern',
      expires: undefined,
    })
    trace.lock = lock
    throw refuse('copied identity: the agent is locked now')
  }

  return {
    async renew(request, trace, told) {
      const bytes = Buffer.from(request.payload, 'base64url')
      const payload = parse(renewPayload, parseJson(bytes))
      const now = clock.now()
      if (payload.cluster !== deps.cluster) throw refuse('the request is for another cluster')
      const { certificate, identity } = agentOf(deps, payload, now)
      trace.agent = identity.agentId
      trace.service = identity.service
      trace.generation = payload.generation
      if (now >= certificate.notAfter)
        throw refuse('expired', 'the certificate expired; join again with a fresh token')
      const next = decodeKey(payload.next_key, 'next_key')
      const keys = { current: certificate.publicKey, next }
      const broken = checkRenewal(request, bytes, keys)
      if (broken) throw refuse(`the signature by the ${broken} key does not hold`)
      // After the proofs: only who holds the key learns what our clock says of it.
      checkTime(payload.time, now)
      if (thumbprint(next) === certificate.thumbprint)
        throw refuse('the next key is the current one')
      const agent = await stores.agents.get(identity.agentId)
      if (!agent) throw refuse('the agent was removed')
      const expires = fromSeconds(seconds(plus(now, LIMITS.agentCertTtl.value)))
      const outcome = await stores.agents.renew({
        token: agent.tokenName,
        agentId: identity.agentId,
        service: identity.service,
        now,
        generation: payload.generation,
        issued: plus(certificate.notBefore, LIMITS.certBackdate.value),
        current: certificate.thumbprint,
        next: thumbprint(next),
        ca: caPin(deps.hostCa().certificate.publicKey),
        certificateExpires: expires,
        event: told({ ...trace, generation: payload.generation + 1, again: false, expires }),
      })
      switch (outcome.kind) {
        case 'copied':
          return lockCopied(identity, trace)
        case 'locked':
        case 'unknown':
          throw refuse(outcome.kind)
        case 'key enrolled':
          throw new AppError('ERR_KEY_ENROLLED', undefined, { internal: outcome.kind })
        case 'again':
        case 'renewed':
          trace.generation = outcome.identity.generation
          trace.again = outcome.kind === 'again'
          trace.logged = outcome.kind === 'renewed'
          trace.expires = outcome.identity.expires
          return issueAgentCredentials(deps, agent, outcome.identity, next)
      }
    },
  }
}
