/** KMS as far as the functions use it: asymmetric P-256 keys that sign, and HMAC keys. The keys are real; they never leave here. */
import { createECDH, createHmac, randomBytes, type KeyObject } from 'node:crypto'
import { generateKey, spki } from '../../../core/certs/signer.ts'
import type { IamRequest } from './iam.ts'
import type { DeployedKey } from './template.ts'

type Json = Readonly<Record<string, unknown>>
export interface FakeKms {
  /** Which IAM action on which key; undefined = no such key or operation. */
  request(operation: string, input: Json): IamRequest | undefined
  run(operation: string, input: Json): Json
}

interface Held {
  readonly key: DeployedKey
  readonly pair: { readonly privateKey: KeyObject; readonly publicKey: KeyObject } | undefined
  readonly secret: Buffer
  /** What policies compare: of keys that a function made. */
  readonly tags: Readonly<Record<string, string>>
}

/** Tags of a CreateKey, by name. */
const tagsOf = (input: Json): Record<string, string> =>
  Object.fromEntries(
    ((input['Tags'] ?? []) as { TagKey: string; TagValue: string }[]).map((tag) => [
      tag.TagKey,
      tag.TagValue,
    ]),
  )
const context = (prefix: string, tags: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(tags).map(([name, value]) => [`${prefix}/${name}`, [value]]))

export class KmsError extends Error {
  readonly type: string
  constructor(type: string, message: string) {
    super(message)
    this.type = type
  }
}

export function fakeKms(deployed: readonly DeployedKey[]): FakeKms {
  const held = new Map<string, Held>(
    deployed.map((key) => [
      key.arn,
      {
        key,
        pair: key.spec === 'ECC_NIST_P256' ? generateKey('ES256') : undefined,
        secret: randomBytes(32),
        tags: {},
      },
    ]),
  )
  const find = (id: unknown): Held | undefined => {
    const arn = String(id)
    return held.get(arn) ?? [...held.values()].find(({ key }) => key.arn.endsWith(`/${arn}`))
  }
  /** Without a policy of its own: the account's IAM decides. */
  function create(input: Json): string {
    if (input['KeySpec'] !== 'ECC_NIST_P256' || input['KeyUsage'] !== 'SIGN_VERIFY')
      throw new KmsError('ValidationException', 'KeySpec')
    const arn = `arn:aws:kms:eu-west-1:111122223333:key/made-${held.size}`
    const key = { id: 'Made', arn, spec: 'ECC_NIST_P256', delegatesToIam: true }
    held.set(arn, {
      key,
      pair: generateKey('ES256'),
      secret: randomBytes(32),
      tags: tagsOf(input),
    })
    return arn
  }
  return {
    request(operation, input) {
      if (operation === 'CreateKey') {
        const tags = tagsOf(input)
        const asked = { ...context('aws:RequestTag', tags), 'aws:TagKeys': Object.keys(tags) }
        return { action: 'kms:CreateKey', resource: '*', context: asked }
      }
      const found = find(input['KeyId'])
      return (
        found && {
          action: `kms:${operation}`,
          resource: found.key.arn,
          context: context('aws:ResourceTag', found.tags),
        }
      )
    },
    run(operation, input) {
      if (operation === 'CreateKey') return { KeyMetadata: { Arn: create(input) } }
      const found = find(input['KeyId'])
      if (!found) throw new KmsError('NotFoundException', 'no such key')
      const { key, pair, secret } = found
      const KeyId = key.arn
      switch (operation) {
        case 'GetPublicKey':
          if (!pair) throw new KmsError('UnsupportedOperationException', 'not asymmetric')
          return {
            KeyId,
            KeySpec: key.spec,
            KeyUsage: 'SIGN_VERIFY',
            SigningAlgorithms: ['ECDSA_SHA_256'],
            PublicKey: spki(pair.publicKey).toString('base64'),
          }
        case 'Sign': {
          if (!pair) throw new KmsError('InvalidKeyUsageException', 'not for signing')
          const message = Buffer.from(String(input['Message']), 'base64')
          if (input['SigningAlgorithm'] !== 'ECDSA_SHA_256')
            throw new KmsError('ValidationException', 'SigningAlgorithm')
          if (input['MessageType'] !== 'DIGEST' || message.length !== 32)
            throw new KmsError('ValidationException', 'Digest is of an invalid length')
          return {
            KeyId,
            SigningAlgorithm: 'ECDSA_SHA_256',
            Signature: signDigest(pair.privateKey, message).toString('base64'),
          }
        }
        case 'GenerateMac': {
          if (key.spec !== 'HMAC_256')
            throw new KmsError('InvalidKeyUsageException', 'not for MACs')
          if (input['MacAlgorithm'] !== 'HMAC_SHA_256')
            throw new KmsError('ValidationException', 'MacAlgorithm')
          const message = Buffer.from(String(input['Message']), 'base64')
          return {
            KeyId,
            MacAlgorithm: 'HMAC_SHA_256',
            Mac: createHmac('sha256', secret).update(message).digest('base64'),
          }
        }
        default:
          throw new KmsError('UnknownOperationException', operation)
      }
    },
  }
}

const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
const mod = (value: bigint): bigint => ((value % ORDER) + ORDER) % ORDER
const toInt = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
function inverse(value: bigint): bigint {
  let result = 1n
  let base = mod(value)
  for (let e = ORDER - 2n; e > 0n; e >>= 1n) {
    if (e & 1n) result = mod(result * base)
    base = mod(base * base)
  }
  return result
}
function derInteger(value: bigint): Buffer {
  const hex = value.toString(16)
  const bytes = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex')
  const body = (bytes[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes
  return Buffer.concat([Buffer.of(2, body.length), body])
}

/** ECDSA over a digest (FIPS 186-5 section 6.4.1): node:crypto takes whole messages only, KMS is given what was hashed already. */
function signDigest(key: KeyObject, digest: Buffer): Buffer {
  const d = toInt(Buffer.from(String(key.export({ format: 'jwk' })['d']), 'base64url'))
  const once = createECDH('prime256v1')
  const point = once.generateKeys()
  const r = mod(toInt(point.subarray(1, 33)))
  const s = mod(inverse(toInt(once.getPrivateKey())) * (toInt(digest) + r * d))
  const body = Buffer.concat([derInteger(r), derInteger(s)])
  return Buffer.concat([Buffer.of(0x30, body.length), body])
}
