/** The agent's archives of this checkout, when `npm run artefacts` has made them. */
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import * as z from 'zod'
import {
  ARCHES,
  type Arch,
  type Archive,
  type Downloads,
} from '../../functions/install/downloads.ts'

const manifest = z.object({
  files: z.record(z.string(), z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/) })),
})

/** Undefined when there are none, or not all. */
export function localDownloads(dir: string): Downloads | undefined {
  const file = path.join(dir, 'manifest.json')
  if (!existsSync(file)) return undefined
  const read = manifest.safeParse(JSON.parse(readFileSync(file, 'utf8')))
  const names = (arch: Arch): string => `agent-${arch}.tar.gz`
  const found = ARCHES.map((arch) => [arch, read.data?.files[names(arch)]] as const)
  if (found.some(([, archive]) => archive === undefined)) return undefined
  return {
    archives: Object.fromEntries(found) as Record<Arch, Archive>,
    async open(arch) {
      const at = path.join(dir, names(arch))
      const { size } = statSync(at)
      return { body: Readable.toWeb(createReadStream(at)) as ReadableStream<Uint8Array>, size }
    },
  }
}
