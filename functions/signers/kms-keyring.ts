/**
 * CA keys in KMS. A verb may use a key by the tags that it carries: `postern-cluster` and `postern-ca`, so that a key made by a
 * rotation needs no change of any policy. A retired key is scheduled for deletion, which KMS lets be taken back for a month; the
 * key that a deployment was made with belongs to its stack and is left to it.
 */
import {
  CreateKeyCommand,
  DisableKeyCommand,
  ScheduleKeyDeletionCommand,
  type KMSClient,
} from '@aws-sdk/client-kms'
import { caPin } from '../../core/certs/signer.ts'
import type { CaKind } from '../../core/domain/ca.ts'
import { AppError } from '../../core/errors.ts'
import type { CaKeyMaker } from '../ca/keyring.ts'
import { kmsFailure, kmsSigner } from './kms.ts'

/** The longest that KMS offers. */
const DELETE_AFTER_DAYS = 30

/** `initial`: the key that the deployment was made with, as this verb is told it. */
export function kmsKeyring(
  client: KMSClient,
  cluster: string,
  initial: (kind: CaKind) => string | undefined,
): CaKeyMaker {
  const broken = (internal: string): AppError =>
    new AppError('ERR_INTERNAL', undefined, { internal })
  return {
    async open(kind, key) {
      const id = key.ref === '' ? initial(kind) : key.ref
      if (id === undefined) throw broken(`this verb is told of no ${kind} key`)
      const signer = await kmsSigner(client, id)
      if (caPin(signer.publicKey) !== key.pin)
        throw broken(`KMS key ${id} is not the key of the ${kind} CA that the table names`)
      return signer
    },
    async create(kind) {
      const command = new CreateKeyCommand({
        KeySpec: 'ECC_NIST_P256',
        KeyUsage: 'SIGN_VERIFY',
        Description: `Postern ${kind === 'jwt' ? 'JWTs' : `${kind} CA`} of ${cluster}`,
        Tags: [
          { TagKey: 'postern-cluster', TagValue: cluster },
          { TagKey: 'postern-ca', TagValue: kind },
        ],
      })
      const { KeyMetadata } = await client.send(command).catch((cause: unknown) => {
        throw kmsFailure('CreateKey', cause)
      })
      const ref = KeyMetadata?.Arn
      if (ref === undefined) throw broken('KMS CreateKey gave no key')
      return { ref, signer: await kmsSigner(client, ref) }
    },
    async retire(_kind, key) {
      if (key.ref === '') return
      const KeyId = key.ref
      // Disabled first: from now on nobody signs with it, whatever becomes of the deletion.
      const gone = (cause: unknown): void => {
        const name = cause instanceof Error ? cause.name : ''
        if (name !== 'NotFoundException' && name !== 'KMSInvalidStateException')
          throw kmsFailure('retire', cause)
      }
      await client.send(new DisableKeyCommand({ KeyId })).catch(gone)
      const later = { KeyId, PendingWindowInDays: DELETE_AFTER_DAYS }
      await client.send(new ScheduleKeyDeletionCommand(later)).catch(gone)
    },
  }
}
