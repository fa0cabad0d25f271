/** A user's profile made by the real code, for a cluster made by proxy-world. */
import { generateKey, keySigner } from '../../core/certs/signer.ts'
import { userExtension, userUri } from '../../core/certs/identity.ts'
import { issueCertificate } from '../../core/certs/x509.ts'
import { toPem } from '../../core/certs/x509-read.ts'
import { plus, systemClock, type Instant } from '../../core/clock.ts'
import type { Profile } from '../../cli/connect/profile.ts'
import { CLUSTER, type Ca } from './pki.ts'

export interface ProfileRequest {
  readonly userCa: Ca
  readonly hostCas: readonly string[]
  readonly policyKey: { export(options: { format: 'jwk' }): object }
  readonly address?: string
  readonly user?: string
  readonly expires?: Instant
}

export async function madeProfile(request: ProfileRequest): Promise<Profile> {
  const { user = 'alice', address = '127.0.0.1:1' } = request
  const { privateKey } = generateKey()
  const now = systemClock.now()
  const expires = request.expires ?? plus(now, 3_600_000)
  const der = await issueCertificate({
    subject: user,
    publicKey: keySigner(privateKey).publicKey,
    issuer: request.userCa,
    notBefore: plus(now, -60_000),
    notAfter: plus(now, 3_600_000),
    uris: [userUri(CLUSTER, user)],
    usage: ['client'],
    extension: userExtension({ roles: ['access'], traits: {}, logins: [user] }),
  })
  return {
    cluster: CLUSTER,
    api: `https://${address}`,
    proxies: [address],
    user,
    caPins: [`sha256:${'0'.repeat(64)}`],
    expires,
    hostCas: request.hostCas,
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    certificatePem: toPem(der),
    sshCertificate: 'ecdsa-sha2-nistp256-cert-v01@openssh.com AAAA alice',
    knownHosts: '@cert-authority *.demo.postern ssh-ed25519 AAAA\n',
    sshConfig: 'Host *\n',
    policyKeys: [request.policyKey.export({ format: 'jwk' }) as { kty: string }],
  }
}
