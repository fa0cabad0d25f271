/** A CA key that never leaves KMS: ECC_NIST_P256, SIGN_VERIFY. KMS answers DER, which is what a `Signer` promises. */
import {
  GenerateMacCommand,
  GetPublicKeyCommand,
  SignCommand,
  type KMSClient,
} from '@aws-sdk/client-kms'
import { createHash, createPublicKey } from 'node:crypto'
import { algorithmOf, type Signer } from '../../core/certs/signer.ts'
import { AppError } from '../../core/errors.ts'

const failed = (what: string, cause: unknown): AppError => {
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
      throw failed('GetPublicKey', cause)
    })
  const der = Buffer.from(answer.PublicKey ?? [])
  const publicKey = createPublicKey({ key: der, format: 'der', type: 'spki' })
  if (algorithmOf(publicKey) !== 'ES256')
    throw new AppError('ERR_INTERNAL', undefined, { internal: `KMS key ${keyId} is not P-256` })
  return {
    publicKey,
    algorithm: 'ES256',
    async sign(bytes, signal) {
      // The digest is made here: KMS takes at most 4 KiB of a raw message.
      const command = new SignCommand({
        KeyId: keyId,
        Message: createHash('sha256').update(bytes).digest(),
        MessageType: 'DIGEST',
        SigningAlgorithm: 'ECDSA_SHA_256',
      })
      const signed = await client
        .send(command, signal ? { abortSignal: signal } : {})
        .catch((cause: unknown) => {
          throw failed('Sign', cause)
        })
      return Buffer.from(signed.Signature ?? [])
    },
  }
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
    throw failed('GenerateMac', cause)
  })
  const secret = Buffer.from(answer.Mac ?? [])
  if (secret.length === 32) return secret
  throw new AppError('ERR_INTERNAL', undefined, { internal: 'KMS GenerateMac gave no 32 bytes' })
}
