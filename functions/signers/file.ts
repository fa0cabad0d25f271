/** CA keys as files of one machine: PKCS#8 PEM, 0600, in a directory of mode 0700, made on first use. */
import { createPrivateKey } from 'node:crypto'
import { join } from 'node:path'
import { generateKey, keySigner, type Signer } from '../../core/certs/signer.ts'
import { readCertificate, toPem } from '../../core/certs/x509-read.ts'
import { createCaCertificate } from '../../core/certs/x509.ts'
import { plus, type Clock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Random } from '../../core/random.ts'
import type { Authority } from '../deps.ts'
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

/** A CA whose key and self-signed certificate are files. The certificate is made once and then kept, byte for byte. */
export async function fileAuthority(
  dir: string,
  ca: { readonly file: string; readonly commonName: string },
  deps: { readonly clock: Clock; readonly random: Random },
): Promise<Authority> {
  const signer = fileSigner(dir, ca.file, deps.random)
  const now = deps.clock.now()
  const fresh = await createCaCertificate(
    {
      name: ca.commonName,
      signer,
      notBefore: plus(now, -LIMITS.certBackdate.value),
      notAfter: plus(now, LIMITS.caCertTtl.value),
    },
    deps.random,
  )
  const pem = loadOrCreate(dir, `${ca.file}.cert.pem`, deps.random, () => Buffer.from(toPem(fresh)))
  const certificate = readCertificate(pem.toString('utf8'))
  if (!certificate.publicKey.equals(signer.publicKey))
    throw new AppError('ERR_DATA_DIR_UNSAFE', `${dir}: ${ca.file}.cert.pem is not of its key`)
  return { certificate, signer }
}

/** Random bytes of this cluster that seal what the server hands out: challenges, cursors, kept answers. */
export function fileSecret(dir: string, random: Random): Buffer {
  privateDir(dir)
  const secret = loadOrCreate(dir, 'seal.key', random, () => random.bytes(32))
  if (secret.length === 32) return secret
  throw new AppError('ERR_DATA_DIR_UNSAFE', `${join(dir, 'seal.key')}: is not 32 bytes`)
}
