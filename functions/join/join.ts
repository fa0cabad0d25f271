/**
 * A join, step by step: challenge, proofs, evidence, facts, rule, commit, sign (protocols.md 1). Nothing is signed before the
 * commit; whoever lost the answer repeats the call and gets the same identity. Why a join is refused goes into the `internal`
 * of the error, for the audit log; the caller learns no more than helps the honest.
 */
import type { KeyObject } from 'node:crypto'
import {
  type ChallengeAnswer,
  type ChallengeRequest,
  type Credentials,
  type JoinPayload,
  type JoinRequest,
} from '../../core/api/join.ts'
import { caPin, thumbprint } from '../../core/certs/signer.ts'
import { fromSeconds, plus, seconds, type Instant } from '../../core/clock.ts'
import type { JoinToken } from '../../core/domain/token.ts'
import { AppError, type ErrorCode, type ErrorDetails } from '../../core/errors.ts'
import { newId } from '../../core/ids.ts'
import { admit, unusable } from '../../core/join/admit.ts'
import { openChallenge, sealChallenge, type Challenge } from '../../core/join/challenge.ts'
import type { JoinFacts } from '../../core/join/join-method.ts'
import { checkJoin, decodeKey, thumbprintOfEncoded } from '../../core/join/messages.ts'
import { joinMethods, type EvidenceVerifier } from '../../core/join/methods.ts'
import { LIMITS } from '../../core/limits.ts'
import type { JoinDeps } from '../deps.ts'
import type { JoinOutcome } from '../store/join-store.ts'
import { issueAgentCredentials } from './agent-certificates.ts'
import { joinState, lockCopied } from './bound-keypair.ts'
import { readPayload } from './payload.ts'

/** What is known of a join so far, for the audit log: filled as it goes. */
export interface JoinTrace {
  node?: string
  service?: string
  method?: string
  /** The token's name once it is known, before that the beginning of its handle. Never a secret. */
  token?: string
  /** Who the evidence says it is, and what else it says; once verified. */
  subject?: string
  claims?: readonly string[]
  agent?: string
  again?: boolean
  newAgent?: boolean
  expires?: Instant
}

export interface Joiner {
  challenge(request: ChallengeRequest): ChallengeAnswer
  join(request: JoinRequest, trace: JoinTrace): Promise<Credentials>
}

const refuse = (
  internal: string,
  code: ErrorCode = 'ERR_JOIN_REFUSED',
  message?: string,
  details?: ErrorDetails,
): AppError => new AppError(code, message, { internal, ...(details ? { details } : {}) })

interface Keys {
  readonly enrolment: KeyObject
  readonly service: KeyObject
}

const sameKeyTwice = (): AppError =>
  new AppError('ERR_INPUT_INVALID', 'service_key: is the enrolment key; each has its own', {
    details: { issues: [{ path: 'service_key', message: 'is the enrolment key' }] },
  })

const keysOf = (from: JoinPayload): Keys => {
  if (from.enrolment_key === from.service_key) throw sameKeyTwice()
  return {
    enrolment: decodeKey(from.enrolment_key, 'enrolment_key'),
    service: decodeKey(from.service_key, 'service_key'),
  }
}

function checkChallenge(
  challenge: Challenge | undefined,
  payload: JoinPayload,
  keys: Keys,
  now: Instant,
): Challenge {
  const wrong = !challenge
    ? 'the challenge was not sealed here'
    : now >= challenge.expires
      ? 'the challenge expired'
      : challenge.method !== payload.method
        ? 'the challenge was for another method'
        : challenge.service !== payload.service
          ? 'the challenge was for another service'
          : challenge.enrolment !== thumbprint(keys.enrolment)
            ? 'the challenge was for another enrolment key'
            : challenge.serviceKey !== thumbprint(keys.service)
              ? 'the challenge was for another service key'
              : undefined
  if (wrong !== undefined || !challenge)
    throw refuse(wrong ?? 'no challenge', 'ERR_JOIN_CHALLENGE_INVALID')
  return challenge
}

/**
 * What `namedToken` found is good here too, however long the evidence took: a token never changes but for its uses, and the commit
 * asks once more whether it is still there.
 */
async function findToken(
  deps: JoinDeps,
  { token }: JoinFacts,
  named: JoinToken | undefined,
): Promise<JoinToken | undefined> {
  if (token.by === 'secret') return deps.stores.tokens.bySecretHash(token.hash)
  return named?.name === token.name ? named : undefined
}

/** For methods whose tokens have a public name: the token, alive and of this method, before anything is done for the evidence. */
async function namedToken(
  deps: JoinDeps,
  method: EvidenceVerifier,
  challenge: Challenge,
  trace: JoinTrace,
): Promise<JoinToken | undefined> {
  if (method.tokenBy === 'secret') return undefined
  const token = await deps.stores.tokens.byName(challenge.token)
  if (token) trace.token = token.name
  const refused = unusable(token, challenge.method, deps.clock.now())
  if (refused !== undefined) throw refuse(refused)
  return token
}

/** The token, admitted. */
async function rule(
  deps: JoinDeps,
  method: EvidenceVerifier,
  facts: JoinFacts,
  payload: JoinPayload,
  named: JoinToken | undefined,
  trace: JoinTrace,
): Promise<JoinToken> {
  const token = await findToken(deps, facts, named)
  if (token) trace.token = token.name
  const { service, node_name: nodeName } = payload
  const wish = { method: payload.method, service, nodeName }
  // The rules come first: what a token allows is told to nobody whom they do not let in.
  const unmatched = token && method.refusal(token, facts)
  if (unmatched !== undefined) throw refuse(unmatched)
  const refused = admit(token, wish, deps.clock.now())
  if (refused === undefined && token) return token
  if (refused === 'service not allowed' && token)
    throw refuse(
      refused,
      'ERR_JOIN_SERVICE_NOT_ALLOWED',
      `the token does not allow the ${service} service; its roles are ${token.roles.join(', ')}`,
      { service, roles: token.roles },
    )
  throw refuse(refused ?? 'unknown token')
}

/** An agent has one name. Certificates for a second one would outlive whatever the first was checked for. */
function otherName(joined: string, wanted: string): AppError {
  const message = `this agent joined as ${joined}; another nodename needs a fresh join`
  return refuse(`name ${wanted} of agent ${joined}`, 'ERR_INPUT_INVALID', `node_name: ${message}`, {
    issues: [{ path: 'node_name', message }],
  })
}

type Refused = Extract<JoinOutcome, { kind: 'refused' }>
function refusal(outcome: Refused): AppError {
  switch (outcome.reason) {
    case 'name taken': {
      const name = outcome.name?.name ?? 'this name'
      return refuse(`name taken: ${name}`, 'ERR_NAME_TAKEN', `another agent holds ${name}`)
    }
    case 'key enrolled':
      return refuse('key enrolled', 'ERR_KEY_ENROLLED')
    case 'used up':
    case 'expired':
    case 'revoked':
    case 'locked':
    case 'service enrolled':
    case 'state moved':
      return refuse(outcome.reason)
    case 'evidence spent':
      return refuse('the evidence was shown by another agent before')
  }
}

export function createJoiner(deps: JoinDeps): Joiner {
  const { challengeSealer, clock, random, stores } = deps
  const joinMethod = joinMethods({
    sts: deps.sts,
    issuerKeys: deps.issuerKeys,
    random,
    arm: deps.arm,
    reviewer: deps.reviewer,
    azureSigningKeys: () => deps.azureSigningKeys(),
    iidKeys: () => deps.iidKeys(),
    boundKeypairs: stores.boundKeypairs,
    challengeSealer,
    onCopied: (token, agent, now) => lockCopied(deps, token, agent, now),
  })

  async function commit(
    token: JoinToken,
    facts: JoinFacts,
    payload: JoinPayload,
    keys: Keys,
    trace: JoinTrace,
  ): Promise<Exclude<JoinOutcome, Refused>> {
    const now = clock.now()
    const outcome = await stores.joins.commit({
      token,
      now,
      enrolment: thumbprint(keys.enrolment),
      newAgentId: newId('agent', now, random),
      nodeName: payload.node_name,
      service: payload.service,
      key: thumbprint(keys.service),
      certificateExpires: fromSeconds(seconds(plus(now, LIMITS.agentCertTtl.value))),
      ca: caPin(deps.hostCa().certificate.publicKey),
      trustedCas: deps.cas.now.pins,
      names: payload.service === 'proxy' ? [] : [{ kind: 'node', name: payload.node_name }],
      spend: facts.spend,
      bound: facts.bound,
    })
    if (outcome.kind === 'refused') {
      if (outcome.agentId !== undefined) trace.agent = outcome.agentId
      throw refusal(outcome)
    }
    return outcome
  }

  async function notLocked({ name }: JoinToken): Promise<void> {
    const locks = await stores.locks.on({ kind: 'token', token: name }, clock.now())
    if (locks.length > 0) throw refuse('the token is locked')
  }

  return {
    challenge(request) {
      const { method, token, service } = request
      const opened = joinMethod(method).open(request.params)
      const enrolment = thumbprintOfEncoded(request.enrolment_key, 'enrolment_key')
      const serviceKey = thumbprintOfEncoded(request.service_key, 'service_key')
      if (enrolment === serviceKey) throw sameKeyTwice()
      const bound = { method, token, service, enrolment, serviceKey, kept: opened?.kept }
      const sealed = sealChallenge(challengeSealer, bound, clock.now())
      const question = opened ? { question: { ...opened.question } } : {}
      return { challenge: sealed.challenge, expires: seconds(sealed.expires), ...question }
    },

    async join(request, trace) {
      const bytes = Buffer.from(request.payload, 'base64url')
      const payload = readPayload(bytes, trace)
      const method = joinMethod(payload.method)
      const keys = keysOf(payload)
      const now = clock.now()
      const opened = openChallenge(challengeSealer, payload.challenge)
      const challenge = checkChallenge(opened, payload, keys, now)
      trace.token = `${challenge.token.slice(0, 8)}…`
      // Names of tokens are public: nobody makes us verify evidence for one of them without end.
      deps.limiter.take('token', challenge.token)
      const broken = checkJoin(request, bytes, { challenge: payload.challenge, ...keys })
      if (broken) throw refuse(`the signature by the ${broken} key does not hold`)
      const named = await namedToken(deps, method, challenge, trace)
      const sealed = payload.challenge
      const context = { challenge, sealed, cluster: deps.cluster, token: named, now }
      const facts = await method.verify(payload.evidence, context)
      trace.subject = facts.subject
      const claims = Object.entries(facts.attributes).map(([name, value]) => `${name}=${value}`)
      if (claims.length > 0) trace.claims = claims
      const token = await rule(deps, method, facts, payload, named, trace)
      await notLocked(token)
      const outcome = await commit(token, facts, payload, keys, trace)
      trace.agent = outcome.agent.id
      // A lock that came meanwhile: what was committed is worth nothing, because nothing is signed.
      await notLocked(token)
      trace.again = outcome.kind === 'again'
      trace.newAgent = outcome.kind === 'joined' && outcome.newAgent
      trace.expires = outcome.identity.expires
      if (outcome.agent.nodeName !== payload.node_name)
        throw otherName(outcome.agent.nodeName, payload.node_name)
      const issued = await issueAgentCredentials(
        deps,
        outcome.agent,
        outcome.identity,
        keys.service,
      )
      const state = await joinState(deps, token, facts, payload.service)
      return { ...issued, ...(state === undefined ? {} : { join_state: state }) }
    },
  }
}
