/** The identity of the proxy in this process: one id for each data directory, a certificate renewed at half of its life or when the CA changes. */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { plus, type Clock, type Instant } from '../../core/clock.ts'
import { newId, parseId, type ProxyId } from '../../core/ids.ts'
import type { Random } from '../../core/random.ts'
import { generateKey, keySigner, type Signer } from '../../core/certs/signer.ts'
import type { Certificate } from '../../core/certs/x509-read.ts'
import { writeAtomic } from '../../agent/identity/files.ts'
import type { LocalControlPlane } from '../../functions/wiring.ts'

export interface ProxyCredential {
  readonly certificate: Certificate
  readonly signer: Signer
}
export interface LocalProxyIdentity {
  current(): ProxyCredential
  /** Issues the next certificate when it is time. */
  renew(): Promise<void>
}

async function proxyId(dataDir: string, clock: Clock, random: Random): Promise<ProxyId> {
  const file = path.join(dataDir, 'proxy-id')
  const known = parseId('proxy', (await readFile(file, 'utf8').catch(() => '')).trim())
  if (known) return known
  const made = newId('proxy', clock.now(), random)
  await writeAtomic(file, `${made}\n`, random)
  return made
}

export async function localProxyIdentity(deps: {
  readonly plane: Pick<LocalControlPlane, 'issueProxyIdentity' | 'caBundle'>
  readonly dataDir: string
  readonly clock: Clock
  readonly random: Random
}): Promise<LocalProxyIdentity> {
  const { plane, clock } = deps
  const id = await proxyId(deps.dataDir, clock, deps.random)
  async function issue(): Promise<{ credential: ProxyCredential; ca: string; renewAt: Instant }> {
    const key = generateKey()
    const now = clock.now()
    const { certificate, caPem, expires } = await plane.issueProxyIdentity(id, key.publicKey)
    const credential = { certificate, signer: keySigner(key.privateKey) }
    return { credential, ca: caPem, renewAt: plus(now, (expires - now) / 2) }
  }
  let held = await issue()
  return {
    current: () => held.credential,
    async renew() {
      const signs = plane.caBundle.host.x509[0]
      if (clock.now() >= held.renewAt || signs !== held.ca) held = await issue()
    },
  }
}
