/** A CA of somebody else: TPM manufacturers, clouds. It signs whatever a test asks, also what no CA should. */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  type KeyObject,
} from 'node:crypto'
import {
  bitString,
  contextual,
  integer,
  octetString,
  oid,
  sequence,
  set,
  time,
  TRUE,
  utf8String,
} from '../../core/certs/der.ts'
import { toPem } from '../../core/certs/x509-read.ts'
import { instant, plus, type Instant } from '../../core/clock.ts'

export interface ForeignKey {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

export function foreignKey(kind: 'rsa' | 'ec' = 'rsa'): ForeignKey {
  const publicKeyEncoding = { type: 'spki', format: 'der' } as const
  const privateKeyEncoding = { type: 'pkcs8', format: 'der' } as const
  const made =
    kind === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048, publicKeyEncoding, privateKeyEncoding })
      : generateKeyPairSync('ec', { namedCurve: 'P-256', publicKeyEncoding, privateKeyEncoding })
  return {
    privateKey: createPrivateKey({ key: made.privateKey, format: 'der', type: 'pkcs8' }),
    publicKey: createPublicKey({ key: made.publicKey, format: 'der', type: 'spki' }),
  }
}

const SHA256_WITH_RSA = sequence(oid('1.2.840.113549.1.1.11'), Buffer.of(5, 0))
const nameOf = (cn: string): Buffer => sequence(set(sequence(oid('2.5.4.3'), utf8String(cn))))
const extension = (id: string, critical: boolean, value: Buffer): Buffer =>
  sequence(oid(id), ...(critical ? [TRUE] : []), octetString(value))

export interface ForeignCertificate {
  readonly subject: string
  readonly publicKey: KeyObject
  /** Hex. */
  readonly serial?: string
  readonly notBefore?: Instant
  readonly notAfter?: Instant
  readonly ca?: boolean
  readonly dns?: readonly string[]
}

export interface ForeignCa {
  readonly name: string
  readonly key: ForeignKey
  /** DER. */
  readonly certificate: Buffer
  readonly pem: string
  issue(wanted: ForeignCertificate): Buffer
}

/** `now` is in the middle of every life that is not given. */
export function foreignCa(
  name: string,
  now: Instant,
  more: Partial<ForeignCertificate> & { readonly key?: ForeignKey } = {},
): ForeignCa {
  const key = more.key ?? foreignKey()
  const day = 86_400_000

  function issue(wanted: ForeignCertificate): Buffer {
    const { ca = false, dns = [] } = wanted
    const extensions = [
      extension('2.5.29.19', true, ca ? sequence(TRUE) : sequence()),
      ...(ca ? [extension('2.5.29.15', true, bitString(Buffer.of(0x04), 2))] : []),
      ...(dns.length > 0
        ? [
            extension(
              '2.5.29.17',
              false,
              sequence(
                ...dns.map((one) => Buffer.concat([Buffer.of(0x82, one.length), Buffer.from(one)])),
              ),
            ),
          ]
        : []),
    ]
    const tbs = sequence(
      contextual(0, integer(Buffer.of(2))),
      integer(Buffer.from(wanted.serial ?? '01', 'hex')),
      SHA256_WITH_RSA,
      nameOf(name),
      sequence(
        time(wanted.notBefore ?? plus(now, -day)),
        time(wanted.notAfter ?? instant(now + 30 * day)),
      ),
      nameOf(wanted.subject),
      wanted.publicKey.export({ format: 'der', type: 'spki' }),
      contextual(3, sequence(...extensions)),
    )
    return sequence(tbs, SHA256_WITH_RSA, bitString(sign('sha256', tbs, key.privateKey)))
  }

  const certificate = issue({ subject: name, publicKey: key.publicKey, ca: true, ...more })
  return { name, key, certificate, pem: toPem(certificate), issue }
}
