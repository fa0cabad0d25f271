/**
 * The archive for arm64, which proxies and pools run, is started here under QEMU: its Node runtime, its program, and its native part. It is
 * built by `npm run artefacts`, which CI does before the tests.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { able } from '../../support/peers.ts'

const ARCHIVE = 'artefacts/agent-arm64.tar.gz'
const LIBRARIES = '/usr/aarch64-linux-gnu'
const ready = able('QEMU for arm64', [
  ['qemu-aarch64-static', 'qemu-user-static'],
  [`${LIBRARIES}/lib/libstdc++.so.6`, 'libstdc++6-arm64-cross'],
  [ARCHIVE, 'npm run artefacts'],
])

describe.skipIf(!ready)('the arm64 archive', () => {
  let dir = ''
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'postern-arm64-'))
    expect(spawnSync('tar', ['-xzf', ARCHIVE, '-C', dir]).status).toBe(0)
  })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))
  const node = (...args: string[]) => {
    const bin = join(dir, 'postern/bin/node')
    const done = spawnSync('qemu-aarch64-static', [bin, ...args], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], HOME: dir, QEMU_LD_PREFIX: LIBRARIES },
    })
    return `${done.stdout}${done.stderr}`.trim()
  }

  test('its runtime starts, and is arm64', () => {
    expect(node('-p', 'process.arch')).toBe('arm64')
    expect(existsSync(join(dir, 'postern/LICENSE.node'))).toBe(true)
  })
  test('its program starts, and is this version', () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
    expect(node(join(dir, 'postern/lib/postern.mjs'), '--version')).toBe(version)
  })
  test('its native part loads', () => {
    const native = join(dir, 'postern/lib/node_modules/@koromix/koffi-linux-arm64')
    expect(node('-p', `typeof require(${JSON.stringify(native)}).struct`)).toBe('function')
  })
})
