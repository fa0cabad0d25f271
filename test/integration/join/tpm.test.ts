/** Method `tpm` with a TPM: swtpm, driven by a real agent process over its command interface. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missing } from '../../support/peers.ts'
import { startSwtpm, type Swtpm } from '../../support/swtpm.ts'
import { openGate, type Gate } from '../agent/gate.ts'
import { BIN, CHECKOUT, finish, start } from '../cli/postern.ts'

describe.skipIf(missing('swtpm', 'swtpm_setup', 'swtpm_localca'))('a machine with a TPM', () => {
  let gate: Gate
  let tpm: Swtpm
  beforeAll(async () => {
    ;[gate, tpm] = await Promise.all([openGate(), startSwtpm()])
  })
  afterAll(async () => {
    await gate.close()
    await tpm.close()
  })

  const command = (...args: string[]) =>
    finish(start(process.execPath, [BIN, ...args], { cwd: CHECKOUT, env: process.env as never }))
  async function identify(ek: 'rsa' | 'ecc'): Promise<Record<string, string>> {
    const { stdout } = await command('agent', 'tpm', '--device', tpm.device, '--ek', ek, '--json')
    return JSON.parse(stdout) as Record<string, string>
  }
  const mint = (name: string, block: object) =>
    gate.operator.request('POST', '/v1/tokens', {
      kind: 'token',
      version: 'v2',
      metadata: { name },
      spec: { roles: ['Node', 'App'], join_method: 'tpm', tpm: block },
    })

  test('says which rule it needs, and joins as a process of its own with both services', async () => {
    const { ek_public_hash: hash, ek_certificate_serial: serial } = await identify('rsa')
    await mint('makers', {
      ekcert_allowed_cas: [tpm.ca],
      allow: [{ ek_public_hash: hash, ek_certificate_serial: serial }],
    })
    const spec = {
      nodename: 'tpm-1',
      dataDir: join(gate.dir, 'tpm-1'),
      joinParams: `{ method: tpm, token_name: makers, tpm: { device: ${tpm.device} } }`,
      services: 'app_service: { enabled: true, apps: [] }\nssh_service: { enabled: true }',
    }
    const file = join(gate.dir, 'tpm-1.yaml')
    writeFileSync(file, gate.yaml(spec))
    const env = { PATH: process.env['PATH'] ?? '', HOME: gate.dir }
    const child = start(process.execPath, [BIN, 'agent', 'start', '-c', file], {
      cwd: CHECKOUT,
      env,
    })
    const ended = finish(child)
    const of = (service: string) =>
      gate.event((e) => e.type === 'agent.join' && e.fields['service'] === service)
    const both = await Promise.race([Promise.all([of('ssh'), of('app')]), ended])
    child.kill('SIGTERM')
    await ended
    for (const event of both as Awaited<ReturnType<typeof of>>[])
      expect(event).toMatchObject({
        outcome: 'ok',
        fields: {
          method: 'tpm',
          subject: `tpm:${hash ?? ''}`,
          claims: expect.arrayContaining(['ek_certificate_verified=true']) as string[],
        },
      })
  })

  test('joins by its P-256 key, which has no certificate', async () => {
    const { ek_public_hash: hash } = await identify('ecc')
    await mint('racks', { allow: [{ ek_public_hash: hash }] })
    const { agent } = await gate.start({
      nodename: 'tpm-2',
      dataDir: join(gate.dir, 'tpm-2'),
      joinParams: `{ method: tpm, token_name: racks, tpm: { device: ${tpm.device}, ek: ecc } }`,
    })
    await agent.settled()
    expect(agent.services.get('app')?.state).toBe('online')
    await agent.stop()
  })

  test('is refused when no rule names its TPM, and the machine is told no more', async () => {
    await mint('others', { allow: [{ ek_public_hash: '0'.repeat(64) }] })
    const { agent, log } = await gate.start({
      nodename: 'tpm-3',
      dataDir: join(gate.dir, 'tpm-3'),
      joinParams: `{ method: tpm, token_name: others, tpm: { device: ${tpm.device} } }`,
    })
    await agent.settled()
    expect(agent.services.get('app')).toMatchObject({
      state: 'failed',
      error: { code: 'ERR_JOIN_REFUSED' },
    })
    expect(JSON.stringify(log.entries)).not.toMatch(/no rule/)
    const event = await gate.event((e) => e.type === 'agent.join' && e.fields['node'] === 'tpm-3')
    expect(event.reason).toMatch(/^no rule allows the endorsement key/)
    await agent.stop()
  })

  test('without one says so, and tries again', async () => {
    const { agent, log } = await gate.start({
      nodename: 'tpm-4',
      dataDir: join(gate.dir, 'tpm-4'),
      joinParams: '{ method: tpm, token_name: racks, tpm: { device: /nowhere/tpm0 } }',
    })
    await log.seen('join.retry')
    const retry = log.entries.find((e) => e.event === 'join.retry')
    expect(retry?.fields?.['message']).toBe('TPM: there is none at /nowhere/tpm0')
    await agent.stop()
  })
})
