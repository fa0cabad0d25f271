/** `postern up` as the process that people start, through a rotation of its host CA: nothing is restarted, and the same ssh goes on. */
import { readFileSync, watch, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { caDocument } from '../../../core/api/cas.ts'
import { isAppError } from '../../../core/errors.ts'
import { apiClient } from '../../../net/http-client.ts'
import { missing } from '../../support/peers.ts'
import { shell, temporaryHome, up, type Home, type RunningUp } from '../cli/postern.ts'

const MINUTE = 60_000
const HOURS = pathToFileURL(join(import.meta.dirname, '../../support/hours.mjs')).href

describe.skipIf(missing('ssh'))('postern up', () => {
  let home: Home
  let running: RunningUp
  let behind = 120 * MINUTE
  const file = (name: string): string => join(home.dir, 'data', name)
  const pass = (ms: number): void => {
    behind -= ms
    writeFileSync(join(home.dir, 'clock'), String(behind))
  }

  beforeAll(async () => {
    home = await temporaryHome()
    pass(0)
    home.env['POSTERN_TEST_BEHIND'] = join(home.dir, 'clock')
    home.env['NODE_OPTIONS'] = `--import=${HOURS}`
    running = await up(home, ['--data-dir', file(''), '--listen', '127.0.0.1:0'])
  }, 120_000)
  afterAll(async () => {
    await running.kill()
    await home.remove()
  })

  /** As the operator, until the control plane has noticed that time has passed. */
  async function rotate(phase: string) {
    const bearer = /Bearer (\S+)/.exec(readFileSync(file('operator.header'), 'utf8'))?.[1] ?? ''
    for (;;) {
      const trust = { system: false, ca: [readFileSync(file('ca.pem'), 'utf8')] }
      const client = apiClient({ baseUrl: running.origin, trust, bearer })
      try {
        return caDocument.parse(await client.request('POST', '/v1/cas/host/rotate', { phase }))
      } catch (e) {
        if (!isAppError(e) || e.code !== 'ERR_CONFLICT') throw e
      } finally {
        client.close()
      }
    }
  }
  /** Resolves when its log has this line. */
  async function logged(line: RegExp): Promise<void> {
    const changes = watch(file('up.log'))
    try {
      while (!line.test(readFileSync(file('up.log'), 'utf8')))
        await new Promise((resolve) => changes.once('change', resolve))
    } finally {
      changes.close()
    }
  }
  async function ssh(): Promise<void> {
    const command = `ssh -F '${file('ssh_config')}' ${hostname().toLowerCase()} echo through`
    for (;;) {
      const { stdout, stderr } = await shell(command, { cwd: home.dir, env: home.env })
      // After time has leapt its lease is over for a moment.
      if (stderr.startsWith('error: offline')) continue
      return expect([stderr, stdout]).toEqual(['', 'through\n'])
    }
  }

  test('its agent, its proxy and its owner follow a rotation of the host CA', async () => {
    await ssh()
    const before = readFileSync(file('ca.pem'), 'utf8')
    await rotate('init')
    pass(MINUTE)
    await rotate('update_clients')
    pass(MINUTE)
    await rotate('update_servers')
    pass(10 * MINUTE)
    await logged(/agent\.renewed .*service=ssh/)
    expect(await rotate('standby')).toMatchObject({ phase: 'standby', trusted: [{}] })
    await ssh()
    expect(readFileSync(file('ca.pem'), 'utf8')).not.toContain(before.trim())
    expect(readFileSync(file('up.log'), 'utf8')).not.toMatch(
      /up\.renewal_failed|agent\.joined[^]*agent\.joined/,
    )
  }, 120_000)
})
