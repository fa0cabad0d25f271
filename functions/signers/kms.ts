/**
 * A CA key that never leaves KMS: SIGN_VERIFY, ECC_NIST_P256 or ECC_NIST_EDWARDS25519. For P-256 KMS answers DER, for Ed25519 the
 * 64 bytes of RFC 8032: what a `Signer` promises. Ed25519 is pure, so the whole message goes to KMS, and that takes 4 KiB at most:
 * enough for certificates and routes, not for a policy.
 */
import {
  GenerateMacCommand,
  GetPublicKeyCommand,
  SignCommand,
  type KMSClient,
} from '@aws-sdk/client-kms'
import { createHash, createPublicKey } from 'node:crypto'
import { algorithmOf, type Signer } from '../../core/certs/signer.ts'
import { AppError } from '../../core/errors.ts'

export const kmsFailure = (what: string, cause: unknown): AppError => {
  const name = cause instanceof Error ? cause.name : ''
  const details = { retryAfter: 1 }
  return name === 'ThrottlingException' || name === 'LimitExceededException'
    ? new AppError('ERR_RATE_LIMITED', undefined, {
        internal: `KMS ${what}: ${name}`,
        cause,
        details,
      })
    : new AppError('ERR_INTERNAL', undefined, { internal: `KMS ${what}: ${name}`, cause })
}

/** Reads the public key once; a function keeps its signer for as long as it is warm. */
export async function kmsSigner(client: KMSClient, keyId: string): Promise<Signer> {
  const answer = await client
    .send(new GetPublicKeyCommand({ KeyId: keyId }))
    .catch((cause: unknown) => {
      throw kmsFailure('GetPublicKey', cause)
    })
  const der = Buffer.from(answer.PublicKey ?? [])
  const publicKey = createPublicKey({ key: der, format: 'der', type: 'spki' })
  const algorithm = algorithmOf(publicKey)
  if (!algorithm)
    throw new AppError('ERR_INTERNAL', undefined, {
      internal: `KMS key ${keyId} is neither P-256 nor Ed25519`,
    })
  const inputOf = algorithm === 'ES256' ? digestInput : rawInput
  return {
    publicKey,
    algorithm,
    async sign(bytes, signal) {
      const command = new SignCommand({ KeyId: keyId, ...inputOf(bytes) })
      const signed = await client
        .send(command, signal ? { abortSignal: signal } : {})
        .catch((cause: unknown) => {
          throw kmsFailure('Sign', cause)
        })
      return Buffer.from(signed.Signature ?? [])
    },
  }
}

/** The digest is made here: KMS takes at most 4 KiB of a raw message. */
const digestInput = (bytes: Uint8Array) =>
  ({
    Message: createHash('sha256').update(bytes).digest(),
    MessageType: 'DIGEST',
    SigningAlgorithm: 'ECDSA_SHA_256',
  }) as const

const RAW_MAX = 4096
function rawInput(bytes: Uint8Array) {
  if (bytes.length > RAW_MAX)
    throw new AppError('ERR_INTERNAL', undefined, {
      internal: `an Ed25519 key in KMS signs at most ${RAW_MAX} bytes, not ${bytes.length}: use a P-256 key here`,
    })
  return { Message: bytes, MessageType: 'RAW', SigningAlgorithm: 'ED25519_SHA_512' } as const
}

/** The sealing secret of a function: a MAC over a fixed text, so that it is the same everywhere and stored nowhere. */
export async function kmsSecret(
  client: KMSClient,
  macKeyId: string,
  purpose: string,
): Promise<Buffer> {
  const command = new GenerateMacCommand({
    KeyId: macKeyId,
    MacAlgorithm: 'HMAC_SHA_256',
    Message: Buffer.from(`postern seal v1 ${purpose}`, 'utf8'),
  })
  const answer = await client.send(command).catch((cause: unknown) => {
    throw kmsFailure('GenerateMac', cause)
  })
  const secret = Buffer.from(answer.Mac ?? [])
  if (secret.length === 32) return secret
  throw new AppError('ERR_INTERNAL', undefined, { internal: 'KMS GenerateMac gave no 32 bytes' })
}
