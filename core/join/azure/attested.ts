/**
 * The attested document of an Azure VM: which VM, in which subscription, for the few characters that we chose. The certificate that
 * signed has to be of the metadata service, and issued by a CA whose key we ship or the token lists.
 */
import { createPublicKey, X509Certificate, type KeyObject } from 'node:crypto'
import * as z from 'zod'
import { fromSeconds, plus, type Instant } from '../../clock.ts'
import { AppError, reasonOf } from '../../errors.ts'
import { parseJson } from '../../strict-json.ts'
import { verifyBySender } from '../signed-data.ts'
import { inForce, unvouched } from '../vouched.ts'
import { AZURE_SIGNING_KEYS } from './signing-keys.ts'

export interface SigningKey {
  /** Common name of the CA. */
  readonly name: string
  readonly until: Instant
  readonly key: KeyObject
}

let published: readonly SigningKey[] | undefined
/** Those that Microsoft publishes; read at the first join that needs them. */
export const publishedSigningKeys = (): readonly SigningKey[] =>
  (published ??= Object.entries(AZURE_SIGNING_KEYS).map(([name, [until, spki]]) => ({
    name,
    until: fromSeconds(Date.parse(until) / 1000),
    key: createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' }),
  })))

const uuid = z
  .string()
  .regex(/^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/)
  .transform((text) => text.toLowerCase())
const TIME = /^(\d\d)\/(\d\d)\/(\d\d) (\d\d):(\d\d):(\d\d) -0000$/
/** `04/19/22 01:27:21 -0000`: month first. */
const time = z.string().transform((text, ctx): Instant => {
  const [, month, day, year, ...clock] = TIME.exec(text) ?? []
  const ms = Date.parse(`20${year}-${month}-${day}T${clock.join(':')}Z`)
  if (Number.isFinite(ms)) return fromSeconds(ms / 1000)
  ctx.addIssue({ code: 'custom', message: 'no time of this document' })
  return z.NEVER
})
const document = z.object({
  nonce: z.string().max(64),
  vmId: uuid,
  subscriptionId: uuid,
  timeStamp: z.object({ createdOn: time, expiresOn: time }),
})

/** Name of the metadata service in the public cloud; the national clouds have names and CAs of their own. */
const SERVICE = 'metadata.azure.com'
const SKEW = 60_000

const refuse = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_JOIN_REFUSED', undefined, { internal: `azure: ${internal}`, cause })

const commonName = (name: string): string | undefined =>
  name
    .split('\n')
    .findLast((line) => line.startsWith('CN='))
    ?.slice(3)

/** Why nobody vouches for the certificate; undefined when a CA does. */
function flaw(
  signer: X509Certificate,
  trust: { readonly keys: readonly SigningKey[]; readonly cas: readonly string[] },
  now: Instant,
): string | undefined {
  const names = { subject: 'never', wildcards: false } as const
  if (signer.checkHost(SERVICE, names) === undefined) return `the signer is not ${SERVICE}`
  const name = commonName(signer.issuer)
  const known = trust.keys.find((one) => one.name === name)
  if (!known)
    return unvouched(
      signer,
      trust.cas.map((pem) => new X509Certificate(pem)),
      now,
    )
  if (signer.ca) return 'the certificate is one of a CA'
  if (!signer.verify(known.key)) return 'the signature of the CA does not hold'
  if (now >= known.until) return 'the CA is not in force'
  return inForce(signer, now) ? undefined : 'the certificate is not in force'
}

export interface Attested {
  readonly vmId: string
  readonly subscription: string
}

/** Throws ERR_JOIN_REFUSED. */
export function verifyAttested(
  message: Buffer,
  trust: { readonly keys: readonly SigningKey[]; readonly cas: readonly string[] },
  nonce: string,
  now: Instant,
): Attested {
  let signed
  try {
    signed = verifyBySender(message)
  } catch (cause) {
    throw refuse(reasonOf(cause), cause)
  }
  const why = flaw(signed.by, trust, now)
  if (why !== undefined) throw refuse(why)
  let found
  try {
    found = document.parse(parseJson(signed.content))
  } catch (cause) {
    throw refuse(`attested document: ${reasonOf(cause).slice(0, 300)}`, cause)
  }
  if (found.nonce !== nonce) throw refuse('the attested document is for another join')
  const { createdOn, expiresOn } = found.timeStamp
  if (createdOn > plus(now, SKEW)) throw refuse('the attested document is of the future')
  if (now >= plus(expiresOn, SKEW)) throw refuse('the attested document expired')
  return { vmId: found.vmId, subscription: found.subscriptionId }
}
