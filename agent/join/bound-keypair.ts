/**
 * Join method `bound_keypair`: a key of this machine's own, which outlives every certificate, and the join state of each service.
 *
 *   bound-keypair/key.pem          made before the first join, unless the configuration names another file
 *   bound-keypair/<service>.state  from the answer to the last join; shown at the next
 */
import { createPrivateKey, type KeyObject } from 'node:crypto'
import { join } from 'node:path'
import { CONTEXT, prove } from '../../core/certs/proof.ts'
import { generateKey, keySigner } from '../../core/certs/signer.ts'
import type { IdentityKind } from '../../core/domain/service.ts'
import { AppError } from '../../core/errors.ts'
import type { BoundKeypairEvidence } from '../../core/join/bound-keypair.ts'
import { encodeKey } from '../../core/join/messages.ts'
import type { Random } from '../../core/random.ts'
import type { BoundKeypairConfig } from '../config.ts'
import { ensurePrivateDir, readPrivate, writeAtomic } from '../identity/files.ts'
import { pkcs8 } from '../identity/store.ts'
import { readSecretFile } from '../token-file.ts'
import type { EvidenceCollector } from './collector.ts'

const FILE_MAX = 16 * 1024

export interface BoundKeypairCollectorDeps {
  readonly service: IdentityKind
  readonly dataDir: string
  /** Default: no secret, a key made here. */
  readonly config: BoundKeypairConfig | undefined
  readonly random: Random
}

/** One key for all services of a process that start together: whoever comes second waits for the first. */
const loading = new Map<string, Promise<KeyObject>>()

async function loadKey(path: string, make: boolean, random: Random): Promise<KeyObject> {
  const text = await readSecretFile(path, 'key file')
  if (text === undefined && make) {
    const { privateKey } = generateKey()
    await writeAtomic(path, pkcs8(privateKey), random)
    return privateKey
  }
  try {
    const key = createPrivateKey(text ?? '')
    keySigner(key)
    return key
  } catch (cause) {
    throw new AppError('ERR_EVIDENCE_MISSING', `${path} holds no P-256 or Ed25519 private key`, {
      cause,
    })
  }
}

async function secretOf(config: BoundKeypairConfig | undefined): Promise<string | undefined> {
  const registrationSecret = config?.registrationSecret
  if (registrationSecret?.kind === 'value') return registrationSecret.secret
  // Once the key is registered the file may go.
  return registrationSecret && readSecretFile(registrationSecret.path, 'registration secret file')
}

export function boundKeypairCollector(
  tokenName: string,
  deps: BoundKeypairCollectorDeps,
): EvidenceCollector {
  const { config, random, service } = deps
  const dir = join(deps.dataDir, 'bound-keypair')
  const statePath = join(dir, `${service}.state`)

  async function key(): Promise<KeyObject> {
    await ensurePrivateDir(dir)
    const path = config?.staticKeyPath ?? join(dir, 'key.pem')
    const found = loading.get(path) ?? loadKey(path, config?.staticKeyPath === undefined, random)
    loading.set(path, found)
    try {
      return await found
    } finally {
      loading.delete(path)
    }
  }

  return {
    name: 'bound_keypair',
    handle: async () => tokenName,
    async collect(challenge): Promise<BoundKeypairEvidence> {
      const signer = keySigner(await key())
      const signature = await prove(CONTEXT.boundKeypair, signer, Buffer.from(challenge, 'ascii'))
      const secret = await secretOf(config)
      const state = await readPrivate(statePath, FILE_MAX)
      return {
        public_key: encodeKey(signer.publicKey),
        signature: signature.toString('base64url'),
        ...(secret === undefined ? {} : { registration_secret: secret }),
        ...(state === undefined ? {} : { join_state: state.trim() }),
      }
    },
    // Before the identity is on disk: a crash in between repeats the join with the same keys, which moves nothing on.
    async accepted({ join_state: state }) {
      if (state !== undefined) await writeAtomic(statePath, state, random)
    },
  }
}
