/** `postern agent tpm`: what a token of method `tpm` has to say about the TPM of this machine. */
import { createHash } from 'node:crypto'
import path from 'node:path'
import { openTpm } from '../../agent/join/tpm/session.ts'
import { serialOf } from '../../core/join/tpm/rule.ts'
import { spkiOf } from '../../core/join/tpm/wire.ts'
import { readForeignCertificate } from '../../core/join/vouched.ts'
import type { Cli } from '../cli.ts'

export interface AgentTpmOptions {
  readonly device?: string | undefined
  readonly ek?: 'rsa' | 'ecc' | undefined
  readonly json?: boolean | undefined
}

export async function agentTpm(cli: Cli, options: AgentTpmOptions): Promise<void> {
  const device = options.device === undefined ? undefined : path.resolve(cli.cwd, options.device)
  const session = await openTpm({ device, ek: options.ek }, cli.clock)
  await session.close()
  const certificate = session.certificate && readForeignCertificate(session.certificate)
  const found = {
    ek: session.kind,
    ek_public_hash: createHash('sha256').update(spkiOf(session.ekPublic)).digest('hex'),
    ...(certificate
      ? { ek_certificate_serial: serialOf(certificate), ek_certificate_issuer: certificate.issuer }
      : {}),
  }
  if (options.json) return cli.out(JSON.stringify(found))
  const { ek_certificate_serial: serial } = found
  cli.out(
    [
      'tpm:',
      '  allow:',
      `    - ek_public_hash: ${found.ek_public_hash}`,
      serial === undefined
        ? '      # this TPM has no certificate of its endorsement key'
        : `      # ek_certificate_serial: '${serial}'   # with ekcert_allowed_cas; issuer: ${found.ek_certificate_issuer?.replaceAll('\n', ', ')}`,
    ].join('\n'),
  )
}
