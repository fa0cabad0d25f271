/**
 * Join method `tpm`: a machine is the one whose TPM it has. The challenge carries a secret that only the TPM with the given
 * endorsement key can read, and only for an attestation key of its own (credential activation); the attestation key then signs
 * that this join, with these keys, is the one it vouches for.
 */
import {
  createHash,
  createPublicKey,
  timingSafeEqual,
  X509Certificate,
  type KeyObject,
} from 'node:crypto'
import * as z from 'zod'
import type { Instant } from '../../clock.ts'
import { AppError, badField, invariant, reasonOf } from '../../errors.ts'
import type { JoinToken } from '../../domain/token.ts'
import { parse } from '../../parse.ts'
import type { Random } from '../../random.ts'
import { bindingOf } from '../binding.ts'
import type { JoinMethod } from '../join-method.ts'
import { readForeignCertificate, unvouched } from '../vouched.ts'
import { certifyFlaw, nameOf, readAttestationKey, weakness } from './attestation.ts'
import { isEndorsementKey, makeCredential } from './make-credential.ts'
import { spkiOf } from './wire.ts'
import { serialOf, tpmBlock, tpmRefusal, type TpmBlock } from './rule.ts'

const base64url = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[A-Za-z0-9_-]+$/, 'use base64url without padding')

/** What the machine asks its challenge with. */
const opening = z.strictObject({
  /** SPKI of the endorsement key. */
  ek_public: base64url(512),
  /** TPMT_PUBLIC of the attestation key. */
  ak_public: base64url(512),
})
export type TpmOpening = z.output<typeof opening>

/** What comes with the challenge: contents of TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, base64url. */
export const tpmQuestion = z.object({
  credential_blob: base64url(2048),
  encrypted_secret: base64url(2048),
})
export type TpmQuestion = z.output<typeof tpmQuestion>

const evidence = opening.extend({
  /** DER, from the TPM. */
  ek_certificate: base64url(6144).optional(),
  /** What the TPM read out of the credential. */
  secret: base64url(64),
  /** TPMS_ATTEST of TPM2_Certify of the attestation key by itself, its qualifying data being the binding of this join. */
  attest: base64url(1024),
  /** TPMT_SIGNATURE. */
  signature: base64url(256),
})
export type TpmEvidence = z.output<typeof evidence>

const SECRET = 32
const refuse = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_JOIN_REFUSED', undefined, { internal: `tpm: ${internal}`, cause })
const bytes = (text: string): Buffer => Buffer.from(text, 'base64url')
const sha256 = (data: Uint8Array): Buffer => createHash('sha256').update(data).digest()

function endorsementKey(text: string): KeyObject {
  let key
  try {
    key = createPublicKey({ key: bytes(text), format: 'der', type: 'spki' })
  } catch (cause) {
    throw new AppError('ERR_INPUT_INVALID', 'params.ek_public: not a public key', { cause })
  }
  // One key has one hash: other encodings of it are refused, never normalised.
  if (isEndorsementKey(key) && spkiOf(key).equals(bytes(text))) return key
  throw badField('params.ek_public', 'use an endorsement key of RSA-2048 or P-256')
}

/** What the sealed challenge remembers: the secret, and digests of both keys. */
const remembered = (secret: Buffer, given: TpmOpening): string =>
  Buffer.concat([secret, sha256(bytes(given.ek_public)), nameOf(bytes(given.ak_public))]).toString(
    'base64url',
  )

function checkOpening(kept: string | undefined, given: TpmEvidence): void {
  invariant(kept !== undefined, 'a challenge of method tpm keeps what it was made for')
  const secret = bytes(given.secret)
  const [ours, keys] = [bytes(kept).subarray(0, SECRET), bytes(kept).subarray(SECRET)]
  const theirs = bytes(remembered(Buffer.alloc(0), given))
  if (!keys.subarray(0, 32).equals(theirs.subarray(0, 32)))
    throw refuse('the challenge was for another endorsement key')
  if (!keys.subarray(32).equals(theirs.subarray(32)))
    throw refuse('the challenge was for another attestation key')
  if (secret.length !== SECRET || !timingSafeEqual(secret, ours))
    throw refuse('the credential was not activated: the secret is wrong')
}

function certificateOf(given: TpmEvidence, key: string): X509Certificate | undefined {
  if (given.ek_certificate === undefined) return undefined
  let found: X509Certificate
  let certified: Buffer
  try {
    found = readForeignCertificate(bytes(given.ek_certificate))
    certified = spkiOf(found.publicKey)
  } catch (cause) {
    throw refuse(`EK certificate: ${reasonOf(cause)}`, cause)
  }
  if (!certified.equals(bytes(key))) throw refuse('the EK certificate is of another key')
  return found
}

/** A certificate counts only where the token says whose it has to be. */
function checkCertificate(
  block: TpmBlock,
  certificate: X509Certificate | undefined,
  now: Instant,
): string | undefined {
  const { ekcert_allowed_cas: pems } = block
  if (!pems) return undefined
  if (!certificate) throw refuse('the TPM has no EK certificate, and the token needs one')
  const flaw = unvouched(
    certificate,
    pems.map((pem) => new X509Certificate(pem)),
    now,
  )
  if (flaw !== undefined) throw refuse(`EK certificate: ${flaw}`)
  return serialOf(certificate)
}

function checkAttestation(given: TpmEvidence, binding: Buffer): void {
  let flaw
  try {
    const key = readAttestationKey(bytes(given.ak_public))
    const signed = { attest: bytes(given.attest), signature: bytes(given.signature) }
    flaw = weakness(key) ?? certifyFlaw(key, signed, binding)
  } catch (cause) {
    throw refuse(reasonOf(cause), cause)
  }
  if (flaw !== undefined) throw refuse(flaw)
}

function blockOf(token: JoinToken | undefined): TpmBlock {
  const block = tpmBlock.safeParse(token?.methodSpec?.['tpm'])
  if (!block.success) throw refuse("the token's block tpm is not usable", block.error)
  return block.data
}

export function tpmMethod({ random }: { readonly random: Random }): JoinMethod<TpmEvidence> {
  return {
    name: 'tpm',
    strength: 'bound',
    tokenBy: 'name',
    evidence,
    open(untrustedParams) {
      const { params: given } = parse(z.object({ params: opening }), { params: untrustedParams })
      const key = endorsementKey(given.ek_public)
      const secret = random.bytes(SECRET)
      const made = makeCredential(key, nameOf(bytes(given.ak_public)), secret, random)
      const question: TpmQuestion = {
        credential_blob: made.blob.toString('base64url'),
        encrypted_secret: made.secret.toString('base64url'),
      }
      return { kept: remembered(secret, given), question }
    },
    async verify(given, { token, sealed, challenge, now }) {
      const block = blockOf(token)
      checkOpening(challenge.kept, given)
      checkAttestation(given, bindingOf('tpm', sealed, challenge))
      const serial = checkCertificate(block, certificateOf(given, given.ek_public), now)
      const hash = sha256(bytes(given.ek_public)).toString('hex')
      return {
        subject: `tpm:${hash}`,
        attributes: {
          ek_public_hash: hash,
          ek_certificate_verified: String(serial !== undefined),
          ...(serial === undefined ? {} : { ek_certificate_serial: serial }),
        },
        token: { by: 'name', name: challenge.token },
      }
    },
    refusal: (token, { attributes }) =>
      tpmRefusal(blockOf(token), {
        hash: attributes['ek_public_hash'],
        serial: attributes['ek_certificate_serial'],
      }),
  }
}
