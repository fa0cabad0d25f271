/** The keys and certificates of one small cluster as a JSON file, so that separate processes can be its proxy and its agent. */
import { createPrivateKey } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { plus, systemClock } from '../../core/clock.ts'
import type { AgentId, ProxyId } from '../../core/ids.ts'
import { agentUri, proxyUri } from '../../core/certs/identity.ts'
import { generateKey, keySigner } from '../../core/certs/signer.ts'
import { createCaCertificate, issueCertificate } from '../../core/certs/x509.ts'
import { readCertificate, toPem, type Certificate } from '../../core/certs/x509-read.ts'
import type { OwnIdentity } from '../../core/tunnel/handshake.ts'

export const CLUSTER = 'bench'
interface Pems {
  readonly cert: string
  readonly key: string
}
export interface World {
  readonly ca: string
  /** PKCS #8 PEM, for whoever makes more identities. */
  readonly caKey: string
  readonly tls: Pems
  readonly proxy: Pems
  readonly agent: Pems
}

export async function writeWorld(path: string): Promise<void> {
  const now = systemClock.now()
  const notBefore = plus(now, -60_000)
  const notAfter = plus(now, 6 * 3_600_000)
  const caKeys = generateKey()
  const signer = keySigner(caKeys.privateKey)
  const ca = readCertificate(
    await createCaCertificate({ name: 'bench host CA', signer, notBefore, notAfter }),
  )
  const issue = async (names: { uris?: string[]; ips?: string[] }): Promise<Pems> => {
    const keys = generateKey()
    const der = await issueCertificate({
      subject: 'bench',
      publicKey: keys.publicKey,
      issuer: { certificate: ca, signer },
      notBefore,
      notAfter,
      usage: ['client', 'server'],
      ...names,
    })
    return {
      cert: toPem(der),
      key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    }
  }
  const world: World = {
    ca: toPem(ca.raw),
    caKey: caKeys.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    tls: await issue({ ips: ['127.0.0.1'] }),
    proxy: await issue({
      uris: [proxyUri(CLUSTER, 'px_01jd00000000000000000000pp' as ProxyId)],
    }),
    agent: await issue({
      uris: [agentUri(CLUSTER, 'ag_01jd00000000000000000000aa' as AgentId, 'app')],
    }),
  }
  writeFileSync(path, JSON.stringify(world), { mode: 0o600 })
}

export const readWorld = (path: string): World => JSON.parse(readFileSync(path, 'utf8')) as World
export const caOf = (world: World): Certificate => readCertificate(world.ca)
export const identity = ({ cert, key }: Pems): OwnIdentity => ({
  certificate: readCertificate(cert),
  signer: keySigner(createPrivateKey(key)),
})
