/** Builds X.509 certificates with one part at a time made wrong, signed correctly all the same, so that nothing but that part is wrong. */
import {
  time,
  bitString,
  contextual,
  contextualPrimitive,
  integer,
  octetString,
  oid,
  sequence,
  set,
  TRUE,
  utf8String,
} from '../../../core/certs/der.ts'
import { plus } from '../../../core/clock.ts'
import { KEY_USAGE, OID } from '../../../core/certs/oids.ts'
import { generateKey, spki, type Signer } from '../../../core/certs/signer.ts'
import { agentUri } from '../../../core/certs/identity.ts'
import { AGENT_ID, CLUSTER, HOUR, NOW, type Ca } from '../../support/pki.ts'

export const ext = (id: string, value: Buffer, critical = false): Buffer =>
  critical ? sequence(oid(id), TRUE, octetString(value)) : sequence(oid(id), octetString(value))
export const uri = (text: string): Buffer => contextualPrimitive(6, Buffer.from(text, 'latin1'))
export const GOOD_URI = agentUri(CLUSTER, AGENT_ID, 'ssh')

const EXTENSIONS: Record<'constraints' | 'keyUsage' | 'eku' | 'san' | 'more', Buffer> = {
  constraints: ext(OID.basicConstraints, sequence(), true),
  keyUsage: ext(OID.keyUsage, bitString(Buffer.of(KEY_USAGE.digitalSignature), 7), true),
  eku: ext(OID.extendedKeyUsage, sequence(oid(OID.clientAuth))),
  san: ext(OID.subjectAltName, sequence(uri(GOOD_URI))),
  more: Buffer.alloc(0),
}
const ES256 = sequence(oid(OID.ecdsaWithSha256))
type Part =
  'version' | 'serial' | 'algorithm' | 'validity' | 'subject' | 'key' | 'tail' | 'outerAlgorithm'
const PARTS: Record<Part, Buffer> = {
  version: contextual(0, integer(Buffer.of(2))),
  serial: integer(Buffer.of(9)),
  algorithm: ES256,
  validity: sequence(time(NOW), time(plus(NOW, HOUR))),
  subject: sequence(set(sequence(oid(OID.commonName), utf8String('web-1')))),
  key: spki(generateKey().publicKey),
  tail: Buffer.alloc(0),
  outerAlgorithm: ES256,
}

export interface Change {
  readonly parts?: Partial<typeof PARTS> & { readonly issuer?: Buffer }
  readonly extensions?: Partial<typeof EXTENSIONS>
  /** Instead of the CA. */
  readonly signer?: Signer
  /** Of the finished certificate. */
  readonly finish?: (der: Buffer) => Buffer
}

export async function forge(ca: Ca, change: Change = {}): Promise<Buffer> {
  const p = { ...PARTS, issuer: ca.certificate.parts.subject, ...change.parts }
  const extensions = Object.values({ ...EXTENSIONS, ...change.extensions })
  const body = sequence(
    p.version,
    p.serial,
    p.algorithm,
    p.issuer,
    p.validity,
    p.subject,
    p.key,
    contextual(3, sequence(...extensions)),
    p.tail,
  )
  const signature = await (change.signer ?? ca.signer).sign(body)
  const der = sequence(body, p.outerAlgorithm, bitString(signature))
  return change.finish ? change.finish(der) : der
}
