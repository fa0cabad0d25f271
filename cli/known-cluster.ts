/** What stays of a profile after logout: which cluster, where, as whom, and the CA to believe. Enough to sign in again. */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import * as z from 'zod'
import { caPins, discovery } from '../core/domain/cluster.ts'
import { userName } from '../core/domain/name.ts'
import type { JsonWebKeyLike } from '../core/domain/policy.ts'

const manifest = z.object({
  cluster: discovery.shape.cluster,
  api: discovery.shape.api,
  proxies: discovery.shape.proxies,
  user: userName,
  ca_pins: caPins,
  ca_version: z.int().default(0),
})
export interface KnownCluster extends z.output<typeof manifest> {
  /** PEM, any number of certificates. */
  readonly ca: string
  /** Who may say which CAs are believed next; empty when that is not known. */
  readonly policyKeys: readonly JsonWebKeyLike[]
}

export async function knownCluster(dir: string): Promise<KnownCluster | undefined> {
  try {
    const text = await readFile(path.join(dir, 'profile.json'), 'utf8')
    const ca = await readFile(path.join(dir, 'ca.pem'), 'utf8')
    const keys = await readFile(path.join(dir, 'policy-keys.json'), 'utf8').catch(() => '[]')
    const policyKeys = JSON.parse(keys) as JsonWebKeyLike[]
    return { ...manifest.parse(JSON.parse(text)), ca, policyKeys }
  } catch {
    // Nothing there, or nothing of ours: then nothing is known.
    return undefined
  }
}
