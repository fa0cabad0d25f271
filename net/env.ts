/**
 * The roots of NODE_EXTRA_CA_CERTS. Node adds them only where no CA is named, and has no way to ask for them before version 22; an API
 * under a company's own CA, or a network whose TLS is inspected, must not be refused as soon as one more CA is trusted.
 */
import { readFileSync } from 'node:fs'

let known: readonly string[] | undefined

/** PEM, read once as Node does at its start. A file that is missing or broken adds nothing, as with Node itself. */
export function extraRoots(env: NodeJS.ProcessEnv = process.env): readonly string[] {
  if (known) return known
  const file = env['NODE_EXTRA_CA_CERTS']
  try {
    const text = file === undefined || file === '' ? '' : readFileSync(file, 'utf8')
    known = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  } catch {
    known = []
  }
  return known
}
