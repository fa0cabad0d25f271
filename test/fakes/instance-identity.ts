/** Instance identity documents, signed as AWS does it: CMS of indefinite length by an RSA-2048 key, made by openssl. */
import { execFileSync } from 'node:child_process'
import { createPublicKey, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RegionKey } from '../../core/join/ec2.ts'

export interface RegionSigner {
  readonly key: RegionKey
  /** Base64 of the message. */
  sign(content: string | object, options?: readonly string[]): string
}

export function regionSigner(region: string): RegionSigner {
  const dir = mkdtempSync(join(tmpdir(), 'postern-iid-'))
  const run = (...args: string[]): void =>
    void execFileSync('openssl', args, { cwd: dir, stdio: ['ignore', 'ignore', 'ignore'] })
  run(
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'key.pem', '-out', 'cert.pem'],
    ...['-days', '2', '-subj', '/CN=test'],
  )
  const pem = readFileSync(join(dir, 'key.pem'), 'utf8')
  const cert = readFileSync(join(dir, 'cert.pem'), 'utf8')
  rmSync(dir, { recursive: true })
  const { publicKey } = new X509Certificate(cert)
  return {
    key: { region, key: createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })) },
    sign(content, options = ['-stream', '-nocerts']) {
      const work = mkdtempSync(join(tmpdir(), 'postern-iid-'))
      try {
        writeFileSync(join(work, 'key.pem'), pem, { mode: 0o600 })
        writeFileSync(join(work, 'cert.pem'), cert)
        writeFileSync(
          join(work, 'in'),
          typeof content === 'string' ? content : JSON.stringify(content, null, 2),
        )
        execFileSync(
          'openssl',
          [
            ...['cms', '-sign', '-binary', '-nodetach', '-md', 'sha256', '-signer', 'cert.pem'],
            ...['-inkey', 'key.pem', '-in', 'in', '-outform', 'DER', '-out', 'out', ...options],
          ],
          { cwd: work, stdio: ['ignore', 'ignore', 'pipe'] },
        )
        return readFileSync(join(work, 'out')).toString('base64')
      } finally {
        rmSync(work, { recursive: true })
      }
    },
  }
}
