/** The five messages of the handshake as JSON texts: their schemas, capped before they are parsed, strict in every field. */
import * as z from 'zod'
import { AppError, reasonOf } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { parse } from '../parse.ts'
import { parseJson } from '../strict-json.ts'

export const PURPOSES = ['agent', 'user', 'peer'] as const
export type TunnelPurpose = (typeof PURPOSES)[number]

const base64url = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[A-Za-z0-9_-]+$/, 'use base64url without padding')
const nonce = base64url(43).length(43)
const certificate = base64url(Math.ceil((LIMITS.certSize.value * 4) / 3))
/** DER of a P-256 signature is at most 72 bytes. */
const signature = base64url(96)
const milliseconds = z.int().min(1).max(3_600_000)

export const hello = z.strictObject({
  type: z.literal('hello'),
  versions: z.array(z.int().min(1).max(65_535)).min(1).max(16),
  purpose: z.enum(PURPOSES),
  nonce,
  /** `host:port` as the client dialled it. */
  dialled: z
    .string()
    .max(262)
    .regex(/^(\[[0-9a-f:.]+\]|[a-z0-9._-]+):[0-9]{1,5}$/, 'use host:port in lower case'),
})
export type Hello = z.output<typeof hello>

export const challenge = z.strictObject({
  type: z.literal('challenge'),
  version: z.int(),
  proxyId: z.string().max(64),
  cluster: z.string().max(63),
  certificate,
  nonce,
  liveProxies: z.int().min(0).max(1_000_000),
  signature,
})
export type Challenge = z.output<typeof challenge>

export const proof = z.strictObject({ type: z.literal('proof'), certificate, signature })
export type Proof = z.output<typeof proof>

export const welcome = z.strictObject({
  type: z.literal('welcome'),
  connId: z.string().max(64),
  /** How the proxy keeps this tunnel alive; the client takes the smaller of this and its own. */
  keepAlive: z.strictObject({ pingIdleMs: milliseconds, deadAfterMs: milliseconds }),
})
export type Welcome = z.output<typeof welcome>

export const refused = z.strictObject({
  type: z.literal('refused'),
  code: z.string().max(64),
  message: z.string().max(1024),
})
export type Refused = z.output<typeof refused>

export type HandshakeMessage = Hello | Challenge | Proof | Welcome | Refused

export const encodeMessage = (message: HandshakeMessage): string => JSON.stringify(message)

/** Throws ERR_TUNNEL_PROTOCOL, whose `internal` names the wrong field. */
export function decodeMessage<S extends z.ZodType>(schema: S, bytes: Uint8Array): z.output<S> {
  if (bytes.length > LIMITS.handshakeMessage.value)
    throw new AppError('ERR_TUNNEL_PROTOCOL', undefined, { internal: 'handshake: too large' })
  try {
    return parse(schema, parseJson(bytes))
  } catch (e) {
    throw new AppError('ERR_TUNNEL_PROTOCOL', undefined, {
      internal: `handshake: ${reasonOf(e)}`,
      cause: e,
    })
  }
}

export const decodeHello = (bytes: Uint8Array): Hello => decodeMessage(hello, bytes)
export const decodeChallenge = (bytes: Uint8Array): Challenge => decodeMessage(challenge, bytes)
export const decodeProof = (bytes: Uint8Array): Proof => decodeMessage(proof, bytes)
export const decodeWelcome = (bytes: Uint8Array): Welcome => decodeMessage(welcome, bytes)
export const decodeRefused = (bytes: Uint8Array): Refused => decodeMessage(refused, bytes)
