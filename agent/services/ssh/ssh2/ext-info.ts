/**
 * EXT_INFO (RFC 8308) with a correct `server-sig-algs`. ssh2's own lacks a comma between two names, which makes RSA users
 * sign with the weaker hash, and lists SHA-1 and DSA.
 */
import type { Connection } from 'ssh2'
import { internalsOf, MESSAGE, sendPayload, type KexState } from './internals.ts'
import { string, uint32 } from './wire.ts'

const SIGNATURES = [
  'ssh-ed25519',
  'sk-ssh-ed25519@openssh.com',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'sk-ecdsa-sha2-nistp256@openssh.com',
  'rsa-sha2-512',
  'rsa-sha2-256',
].join(',')

export function installExtInfo(client: Connection): void {
  const protocol = internalsOf(client)._protocol
  let wanted = false
  client.once('handshake', () => {
    if (!wanted) return
    const body = [
      Buffer.from([MESSAGE.extInfo]),
      uint32(1),
      string('server-sig-algs'),
      string(SIGNATURES),
    ]
    sendPayload(protocol, Buffer.concat(body))
  })
  // ssh2 decides by a field of its key exchange object: it always reads false there, and we learn what was to be written.
  let current = protocol._kex
  Object.defineProperty(protocol, '_kex', {
    configurable: true,
    get: () => current,
    set(kex: KexState | undefined) {
      current = kex
      if (!kex) return
      Object.defineProperty(kex, 'remoteExtInfoEnabled', {
        get: () => false,
        set(value: boolean) {
          wanted ||= value
        },
      })
    },
  })
}
