/** What stays of a profile after logout: which cluster, where, as whom, and the CA to believe. Enough to sign in again. */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import * as z from 'zod'
import { caPins, discovery } from '../core/domain/cluster.ts'
import { userName } from '../core/domain/name.ts'

const manifest = z.object({
  cluster: discovery.shape.cluster,
  api: discovery.shape.api,
  proxies: discovery.shape.proxies,
  user: userName,
  ca_pins: caPins,
})
export interface KnownCluster extends z.output<typeof manifest> {
  /** PEM, any number of certificates. */
  readonly ca: string
}

export async function knownCluster(dir: string): Promise<KnownCluster | undefined> {
  try {
    const text = await readFile(path.join(dir, 'profile.json'), 'utf8')
    const ca = await readFile(path.join(dir, 'ca.pem'), 'utf8')
    return { ...manifest.parse(JSON.parse(text)), ca }
  } catch {
    // Nothing there, or nothing of ours: then nothing is known.
    return undefined
  }
}
