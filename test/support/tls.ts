/** A TLS certificate for this machine's loopback names, made by the real code, and the CA that signed it. */
import type { ServerOptions } from 'node:https'
import { instant, plus } from '../../core/clock.ts'
import { generateKey } from '../../core/certs/signer.ts'
import { issueCertificate } from '../../core/certs/x509.ts'
import { toPem } from '../../core/certs/x509-read.ts'
import { HOUR, makeCa, type Ca } from './pki.ts'

export interface ServerTls {
  readonly options: ServerOptions & { readonly key: string; readonly cert: string }
  /** PEM. */
  readonly ca: string
}

/** `names`: other DNS names that it is for as well. */
export async function serverTls(ca?: Ca, names: readonly string[] = []): Promise<ServerTls> {
  // OpenSSL judges by the machine's clock.
  const now = instant(Date.now())
  const issuer = ca ?? (await makeCa('TLS test CA', 'ES256', now))
  const keys = generateKey()
  const der = await issueCertificate({
    subject: 'localhost',
    publicKey: keys.publicKey,
    issuer,
    notBefore: plus(now, -60_000),
    notAfter: plus(now, HOUR),
    dns: ['localhost', ...names],
    ips: ['127.0.0.1', '::1'],
    usage: ['server'],
  })
  return {
    options: {
      key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      cert: toPem(der),
    },
    ca: toPem(issuer.certificate.raw),
  }
}
