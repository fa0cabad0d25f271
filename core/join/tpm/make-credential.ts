/**
 * TPM2_MakeCredential without a TPM (TPM 2.0 Library, Part 1, section 24 and annexes B.10.4, C.6.4): a secret that only the TPM
 * with this endorsement key can read, and only when the key of this name is in the same TPM.
 */
import {
  constants,
  createCipheriv,
  createECDH,
  createHash,
  createHmac,
  publicEncrypt,
  type KeyObject,
} from 'node:crypto'
import { AppError, invariant } from '../../errors.ts'
import type { Random } from '../../random.ts'
import { sized, spkiOf, u32 } from './wire.ts'

export interface Credential {
  /** Content of TPM2B_ID_OBJECT. */
  readonly blob: Buffer
  /** Content of TPM2B_ENCRYPTED_SECRET. */
  readonly secret: Buffer
}

const label = (text: string): Buffer => Buffer.from(`${text}\0`, 'ascii')

/** KDFa (Part 1, 11.4.10.2) with SHA-256, for at most 256 bits. */
function kdfa(key: Buffer, use: string, contextU: Buffer, bits: number): Buffer {
  const mac = createHmac('sha256', key)
  for (const part of [u32(1), label(use), contextU, u32(bits)]) mac.update(part)
  return mac.digest().subarray(0, bits / 8)
}

/** KDFe (Part 1, 11.4.10.3) with SHA-256, 256 bits. */
function kdfe(z: Buffer, use: string, partyU: Buffer, partyV: Buffer): Buffer {
  const hash = createHash('sha256')
  for (const part of [u32(1), z, label(use), partyU, partyV]) hash.update(part)
  return hash.digest()
}

interface Seed {
  readonly seed: Buffer
  readonly secret: Buffer
}

function rsaSeed(key: KeyObject, random: Random): Seed {
  const seed = random.bytes(32)
  const secret = publicEncrypt(
    {
      key,
      padding: constants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: 'sha256',
      oaepLabel: label('IDENTITY'),
    },
    seed,
  )
  return { seed, secret }
}

/** Last 65 bytes of the SPKI: 04, x, y. */
const pointOf = (spki: Buffer): Buffer => spki.subarray(-65)

function eccSeed(spki: Buffer): Seed {
  const theirs = pointOf(spki)
  const ours = createECDH('prime256v1')
  const point = ours.generateKeys()
  // The x coordinate, with its leading zeros.
  const z = ours.computeSecret(theirs)
  const [x, y] = [point.subarray(1, 33), point.subarray(33)]
  return {
    seed: kdfe(z, 'IDENTITY', x, theirs.subarray(1, 33)),
    secret: Buffer.concat([sized(x), sized(y)]),
  }
}

/** RSA-2048 with the common exponent, or P-256: the two kinds of the TCG EK profile that every TPM has. */
export function isEndorsementKey(key: KeyObject): boolean {
  const { modulusLength, publicExponent, namedCurve } = key.asymmetricKeyDetails ?? {}
  return key.asymmetricKeyType === 'rsa'
    ? modulusLength === 2048 && publicExponent === 65_537n
    : key.asymmetricKeyType === 'ec' && namedCurve === 'prime256v1'
}

/**
 * `name` is the name of the attestation key (Part 1, 16). The endorsement key is of the default template: SHA-256, AES-128 in CFB mode.
 */
export function makeCredential(
  endorsementKey: KeyObject,
  name: Buffer,
  credential: Buffer,
  random: Random,
): Credential {
  invariant(isEndorsementKey(endorsementKey), 'the endorsement key was checked')
  let made: Seed
  try {
    made =
      endorsementKey.asymmetricKeyType === 'rsa'
        ? rsaSeed(endorsementKey, random)
        : eccSeed(spkiOf(endorsementKey))
  } catch (cause) {
    // A point that is not on the curve, a modulus that is none.
    throw new AppError('ERR_INPUT_INVALID', 'params.ek_public: nothing can be encrypted for it', {
      cause,
    })
  }
  const none = Buffer.alloc(0)
  const cipher = createCipheriv(
    'aes-128-cfb',
    kdfa(made.seed, 'STORAGE', name, 128),
    Buffer.alloc(16),
  )
  const identity = Buffer.concat([cipher.update(sized(credential)), cipher.final()])
  const mac = createHmac('sha256', kdfa(made.seed, 'INTEGRITY', none, 256))
  const integrity = mac.update(identity).update(name).digest()
  return { blob: Buffer.concat([sized(integrity), identity]), secret: made.secret }
}
