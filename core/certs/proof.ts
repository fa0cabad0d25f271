/**
 * Raw proofs of possession: a signature over a context string and length-prefixed parts. The context keeps a signature made
 * for one purpose from serving another (protocols.md 4.2); no context begins as a certificate, a JWS or an SSH packet does.
 * The lengths keep ("ab", "c") from reading as ("a", "bc").
 */
import { verify, type KeyObject } from 'node:crypto'
import { algorithmOf, keySigner, type Signer } from './signer.ts'

export const CONTEXT = {
  join: 'postern-join.v1\0',
  renew: 'postern-renew.v1\0',
  boundKeypair: 'postern-bound-keypair.v1\0',
  tunnelClient: 'postern-tunnel.v1 client\0',
  tunnelProxy: 'postern-tunnel.v1 proxy\0',
  open: 'postern-open.v1\0',
  openAnswer: 'postern-open.v1 answer\0',
} as const
export type ProofContext = (typeof CONTEXT)[keyof typeof CONTEXT]

function message(context: ProofContext, parts: readonly Uint8Array[]): Buffer {
  const pieces: Uint8Array[] = [Buffer.from(context, 'latin1')]
  for (const part of parts) {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(part.length)
    pieces.push(length, part)
  }
  return Buffer.concat(pieces)
}

/** Signs context ‖ (u32 length ‖ part) for each part. ES256 answers DER, EdDSA 64 bytes. */
export async function prove(
  context: ProofContext,
  key: Signer | KeyObject,
  ...parts: readonly Uint8Array[]
): Promise<Buffer> {
  const signer = 'sign' in key ? key : keySigner(key)
  return signer.sign(message(context, parts))
}

/** Whether `signature` is the proof of the holder of `publicKey` over exactly this context and these parts. Never throws. */
export function checkProof(
  context: ProofContext,
  publicKey: KeyObject,
  signature: Uint8Array,
  ...parts: readonly Uint8Array[]
): boolean {
  const algorithm = algorithmOf(publicKey)
  // 72 bytes hold every DER signature of P-256.
  if (!algorithm || signature.length > 72) return false
  try {
    const digest = algorithm === 'ES256' ? 'sha256' : null
    return verify(digest, message(context, parts), publicKey, signature)
  } catch {
    return false
  }
}
