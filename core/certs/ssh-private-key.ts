/** The `OPENSSH PRIVATE KEY` file (OpenSSH's PROTOCOL.key), unencrypted: for the files that a stock ssh reads. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { systemRandom, type Random } from '../random.ts'
import { privateKeyBody, publicKeyBlob } from './ssh-key.ts'
import { string, u32 } from './ssh-wire.ts'

const MAGIC = Buffer.from('openssh-key-v1\0', 'latin1')

/** The text of the file; the caller writes it with mode 0600. */
export function exportSshPrivateKey(
  privateKey: KeyObject,
  comment = '',
  random: Random = systemRandom,
): string {
  // The same number twice tells a reader of an encrypted file that it decrypted well; it is demanded without encryption too.
  const check = random.bytes(4)
  const secret = Buffer.concat([check, check, privateKeyBody(privateKey), string(comment)])
  const padding = Buffer.from([1, 2, 3, 4, 5, 6, 7]).subarray(0, (8 - (secret.length % 8)) % 8)
  const file = Buffer.concat([
    MAGIC,
    string('none'),
    string('none'),
    string(''),
    u32(1),
    string(publicKeyBlob(createPublicKey(privateKey))),
    string(Buffer.concat([secret, padding])),
  ])
  const body = file.toString('base64').replace(/.{70}(?=.)/g, '$&\n')
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${body}\n-----END OPENSSH PRIVATE KEY-----\n`
}
