/** CA keys as files of one machine: PKCS#8 PEM, 0600, in a directory of mode 0700, made on first use. */
import { createPrivateKey } from 'node:crypto'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { caPin, generateKey, keySigner, type Signer } from '../../core/certs/signer.ts'
import type { CaKey } from '../../core/domain/ca.ts'
import { AppError } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import type { CaKeyMaker, KeyKind } from '../ca/keyring.ts'
import { loadOrCreate, privateDir } from './private-dir.ts'

/** The signer of `<dir>/<name>.key.pem`. Throws ERR_DATA_DIR_UNSAFE when others may read it or it is no key of ours. */
export function fileSigner(dir: string, name: string, random: Random): Signer {
  privateDir(dir)
  const file = `${name}.key.pem`
  const pem = loadOrCreate(dir, file, random, () =>
    Buffer.from(generateKey('ES256').privateKey.export({ type: 'pkcs8', format: 'pem' })),
  )
  try {
    return keySigner(createPrivateKey(pem))
  } catch (cause) {
    throw new AppError('ERR_DATA_DIR_UNSAFE', `${join(dir, file)}: is not a private key`, { cause })
  }
}

/** `host` for the key that a cluster was made with, `host-<random>` for each one after it. */
const REF = /^(host|user|policy|jwt|db_client)(-[0-9a-f]{16})?$/

/**
 * The keys of a directory. One that the table names must be there: making a new one in its place would give a CA that nobody
 * trusts. A retired key is deleted.
 */
export function fileKeyring(dir: string, random: Random): CaKeyMaker {
  const refOf = (kind: KeyKind, key: Pick<CaKey, 'ref'>): string => {
    const ref = key.ref === '' ? kind : key.ref
    if (REF.test(ref) && ref.split('-')[0] === kind) return ref
    throw new AppError(
      'ERR_DATA_DIR_UNSAFE',
      `${dir}: the ${kind} CA names no key of this directory`,
    )
  }
  return {
    async open(kind, key) {
      const name = refOf(kind, key)
      const file = join(dir, `${name}.key.pem`)
      if (!existsSync(file))
        throw new AppError(
          'ERR_DATA_DIR_UNSAFE',
          `${file}: is missing; it is the key of the ${kind} CA`,
        )
      const signer = fileSigner(dir, name, random)
      if (caPin(signer.publicKey) === key.pin) return signer
      throw new AppError('ERR_DATA_DIR_UNSAFE', `${file}: is not the key of the ${kind} CA`)
    },
    async create(kind) {
      const ref = `${kind}-${random.bytes(8).toString('hex')}`
      return { ref, signer: fileSigner(dir, ref, random) }
    },
    async retire(kind, key) {
      const name = refOf(kind, key)
      for (const file of [`${name}.key.pem`, `${name}.cert.pem`])
        rmSync(join(dir, file), { force: true })
    },
  }
}

/** Random bytes of this cluster that seal what the server hands out: challenges, cursors, kept answers. */
export function fileSecret(dir: string, random: Random): Buffer {
  privateDir(dir)
  const secret = loadOrCreate(dir, 'seal.key', random, () => random.bytes(32))
  if (secret.length === 32) return secret
  throw new AppError('ERR_DATA_DIR_UNSAFE', `${join(dir, 'seal.key')}: is not 32 bytes`)
}
