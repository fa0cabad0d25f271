/**
 * Join and renewal requests as both sides make and check them, so that what is signed cannot be read in two ways. The signed
 * parts are, for a join: the challenge's text in ASCII, then SHA-256 of the payload bytes; for a renewal: SHA-256 of the payload
 * bytes alone.
 */
import { createHash, type KeyObject } from 'node:crypto'
import { AppError } from '../errors.ts'
import { publicKeyOf, spki, type Signer } from '../certs/signer.ts'
import { checkProof, CONTEXT, prove } from '../certs/proof.ts'
import type { Thumbprint } from '../ids.ts'
import type { JoinPayload, JoinRequest, RenewPayload, RenewRequest } from '../api/join.ts'

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()
const joinParts = (challenge: string, payload: Uint8Array): [Buffer, Buffer] => [
  Buffer.from(challenge, 'ascii'),
  sha256(payload),
]

/** A public key as requests carry it: base64url of its SPKI. */
export const encodeKey = (key: KeyObject): string => spki(key).toString('base64url')

const wrongKey = (field: string, cause?: unknown): AppError => {
  const message = 'use base64url of the SPKI of an ECDSA P-256 or Ed25519 public key'
  return new AppError('ERR_INPUT_INVALID', `${field}: ${message}`, {
    details: { issues: [{ path: field, message }] },
    cause,
  })
}

function keyBytes(text: string, field: string): Buffer {
  const der = Buffer.from(text, 'base64url')
  // The two lengths of the SPKIs that we accept: P-256 with its point uncompressed, and Ed25519.
  if ((der.length !== 91 && der.length !== 44) || der.toString('base64url') !== text)
    throw wrongKey(field)
  return der
}

/** Throws ERR_INPUT_INVALID naming `field` for anything but a canonical P-256 or Ed25519 key. */
export function decodeKey(text: string, field: string): KeyObject {
  try {
    return publicKeyOf(keyBytes(text, field))
  } catch (cause) {
    // One key has one thumbprint: other encodings of it are refused, never normalised.
    throw wrongKey(field, cause)
  }
}

/**
 * The thumbprint of a key that nobody has used yet. Reading a key costs OpenSSL more than a signature, so a challenge is bound to
 * the bytes; whether they are a key is found out when something signed by it arrives.
 */
export const thumbprintOfEncoded = (text: string, field: string): Thumbprint =>
  sha256(keyBytes(text, field)).toString('base64url') as Thumbprint

export async function signJoin(
  payload: JoinPayload,
  keys: { readonly enrolment: Signer; readonly service: Signer },
): Promise<JoinRequest> {
  const bytes = Buffer.from(JSON.stringify(payload), 'utf8')
  const parts = joinParts(payload.challenge, bytes)
  return {
    payload: bytes.toString('base64url'),
    signatures: {
      enrolment: (await prove(CONTEXT.join, keys.enrolment, ...parts)).toString('base64url'),
      service: (await prove(CONTEXT.join, keys.service, ...parts)).toString('base64url'),
    },
  }
}

/** Which signature does not hold, or undefined when both do. */
export function checkJoin(
  request: JoinRequest,
  bytes: Uint8Array,
  signed: { challenge: string; enrolment: KeyObject; service: KeyObject },
): 'enrolment' | 'service' | undefined {
  const parts = joinParts(signed.challenge, bytes)
  const holds = (key: KeyObject, signature: string): boolean =>
    checkProof(CONTEXT.join, key, Buffer.from(signature, 'base64url'), ...parts)
  if (!holds(signed.enrolment, request.signatures.enrolment)) return 'enrolment'
  return holds(signed.service, request.signatures.service) ? undefined : 'service'
}

export async function signRenewal(
  payload: RenewPayload,
  keys: { readonly current: Signer; readonly next: Signer },
): Promise<RenewRequest> {
  const bytes = Buffer.from(JSON.stringify(payload), 'utf8')
  const digest = sha256(bytes)
  return {
    payload: bytes.toString('base64url'),
    signatures: {
      current: (await prove(CONTEXT.renew, keys.current, digest)).toString('base64url'),
      next: (await prove(CONTEXT.renew, keys.next, digest)).toString('base64url'),
    },
  }
}

/** Which signature does not hold, or undefined when both do. */
export function checkRenewal(
  request: RenewRequest,
  bytes: Uint8Array,
  keys: { readonly current: KeyObject; readonly next: KeyObject },
): 'current' | 'next' | undefined {
  const digest = sha256(bytes)
  const holds = (key: KeyObject, signature: string): boolean =>
    checkProof(CONTEXT.renew, key, Buffer.from(signature, 'base64url'), digest)
  if (!holds(keys.current, request.signatures.current)) return 'current'
  return holds(keys.next, request.signatures.next) ? undefined : 'next'
}
