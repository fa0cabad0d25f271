/**
 * OpenSSH host certificates on a server that knows none.
 *
 * ssh2 offers whatever `type` a host key object claims, so a key that claims a certificate type is offered as such. Three
 * facts of its key exchange are then put right by a look-up object of each connection: the blob sent is the certificate, the
 * signature is made and named with the plain type (RFC 8709 and PROTOCOL.certkeys want that), and rekeys look it up again.
 */
import ssh2, { type Connection, type ParsedKey } from 'ssh2'
import { invariant } from '../../../../core/errors.ts'
import { internalsOf } from './internals.ts'

const SUFFIX = '-cert-v01@openssh.com'

export interface HostKey {
  /** For `hostKeys` of the ssh2 server. */
  readonly offered: ParsedKey
  /** To be called first thing on 'connection': before our KEXINIT is written. */
  install(client: Connection): void
}

/** `privateKey` in OpenSSH's format; `certificate` is the blob for the same key, ed25519 or ECDSA. */
export function hostCertificateKey(privateKey: string, certificate: Buffer): HostKey {
  const parsed = ssh2.utils.parseKey(privateKey)
  invariant(!(parsed instanceof Error), 'the host key parses')
  const plain = Array.isArray(parsed) ? (parsed as ParsedKey[])[0] : parsed
  invariant(plain, 'the host key file holds a key')
  const publicBlob = { getPublicSSH: { value: () => certificate } }
  const certificateType = plain.type + SUFFIX
  return {
    offered: Object.create(plain, {
      type: { value: certificateType },
      ...publicBlob,
    }) as ParsedKey,
    install(client) {
      const protocol = internalsOf(client)._protocol
      const signing = Object.create(plain, publicBlob) as ParsedKey
      // Shared by all connections of a server in ssh2; ours alone from here on.
      protocol._hostKeys = Object.defineProperty(
        Object.create(null) as Record<string, ParsedKey>,
        certificateType,
        {
          enumerable: true,
          get() {
            if (protocol._kex) protocol._kex.negotiated.serverHostKey = plain.type
            return signing
          },
        },
      )
    },
  }
}
