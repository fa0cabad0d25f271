/**
 * Joining and renewing on the wire (protocols.md 1 and 2). A body is `{payload, signatures}`: `payload` is the base64url of JSON
 * bytes, so that what was signed is exactly what is parsed, and nothing is parsed before its size is known.
 */
import * as z from 'zod'
import { LIMITS } from '../limits.ts'
import { labels, resourceName } from '../domain/name.ts'
import { IDENTITY_KINDS } from '../domain/service.ts'
import { JOIN_METHODS } from '../domain/join-method.ts'

const base64url = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[A-Za-z0-9_-]+$/, 'use base64url without padding')
/** SPKI DER of an EC P-256 or Ed25519 public key. */
const publicKey = base64url(256)
/** Raw proof by `prove()` of core/certs/proof. */
const signature = base64url(256)

/** `POST /v1/join/challenge`. For method `token` the handle is the hash of the secret, never the secret. */
export const challengeRequest = z.strictObject({
  method: z.enum(JOIN_METHODS, `use one of the join methods: ${JOIN_METHODS.join(', ')}`),
  token: z.string().min(1).max(256),
  service: z.enum(IDENTITY_KINDS),
  enrolment_key: publicKey,
  service_key: publicKey,
  /** By method; its own schema parses it. Of `tpm`: the public keys that the challenge is made for. */
  params: z.unknown().optional(),
})
export type ChallengeRequest = z.output<typeof challengeRequest>

export const challengeAnswer = z.object({
  challenge: z.string().max(2048),
  expires: z.int(),
  /** By method: what only the machine can answer. */
  question: z.record(z.string(), z.string()).optional(),
})
export type ChallengeAnswer = z.output<typeof challengeAnswer>

/** What the payload of a join holds. */
export const joinPayload = z.strictObject({
  challenge: base64url(2048),
  method: z.enum(JOIN_METHODS),
  service: z.enum(IDENTITY_KINDS),
  enrolment_key: publicKey,
  service_key: publicKey,
  node_name: resourceName,
  labels: labels.optional(),
  /** By method; its own schema parses it. */
  evidence: z.unknown(),
})
export type JoinPayload = z.output<typeof joinPayload>

/** `POST /v1/join`. Both signatures: `prove(CONTEXT.join, key, challenge, sha256(payload bytes))`. */
export const joinRequest = z.strictObject({
  payload: base64url(Math.ceil((LIMITS.joinEvidence.value * 4) / 3) + 8192),
  signatures: z.strictObject({ enrolment: signature, service: signature }),
})
export type JoinRequest = z.output<typeof joinRequest>

/** `GET /v1/join/key`: who can open sealed calls, in a JWS of the host CA (core/join/sealed-call). */
export const joinKeyAnswer = z.object({ join_key: z.string().max(4096) })
export type JoinKeyAnswer = z.output<typeof joinKeyAnswer>

/** A request or an answer of `/v1/join` and `/v1/renew` that only the two ends can read: a compact JWE. */
export const sealedCall = z.strictObject({
  sealed: z
    .string()
    .max(LIMITS.joinEvidence.value * 4)
    .regex(
      /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/,
      'is no JWE',
    ),
})
export type SealedCall = z.output<typeof sealedCall>

/** `POST /v1/renew`: `prove(CONTEXT.renew, key, sha256(payload bytes))` by the current and by the next key. */
export const renewPayload = z.strictObject({
  cluster: resourceName,
  /** The X.509 certificate in force, base64url DER. */
  certificate: base64url(24_000),
  generation: z.int().min(1),
  next_key: publicKey,
  /** Made by the agent and kept until the answer is on disk; a repeat with the same id is the same renewal. */
  renewal_id: base64url(64),
  time: z.int(),
})
export type RenewPayload = z.output<typeof renewPayload>
export const renewRequest = z.strictObject({
  payload: base64url(40_000),
  signatures: z.strictObject({ current: signature, next: signature }),
})
export type RenewRequest = z.output<typeof renewRequest>

/** Answer of both calls: one service's credentials. */
export const credentials = z.object({
  cluster: resourceName,
  agent_id: z.string(),
  service: z.enum(IDENTITY_KINDS),
  generation: z.int(),
  /** PEM, leaf only; it chains to a host CA of `GET /v1/ca`. */
  x509: z.string(),
  /** `type base64` line; only for service ssh. */
  ssh_host: z.string().optional(),
  /** Epoch seconds. */
  expires: z.int(),
  /** Labels that the token forces onto everything this agent serves. */
  forced_labels: labels,
  host_ca: z.object({ x509: z.array(z.string()), ssh: z.array(z.string()) }),
  user_ca: z.object({ x509: z.array(z.string()), ssh: z.array(z.string()) }),
  policy_keys: z.array(z.record(z.string(), z.unknown())),
  proxies: z.array(z.string()),
  /** Of method `bound_keypair`: to be shown at the next join of this service. */
  join_state: z.string().max(2048).optional(),
  /** In sealed answers: as `GET /v1/join/key` would give it now, for the next call. */
  join_key: z.string().max(4096).optional(),
})
export type Credentials = z.output<typeof credentials>
