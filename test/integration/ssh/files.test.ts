/** Copying files with stock scp, sftp and rsync, and what the audit log and the role make of it. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openRole } from '../../fakes/service-context.ts'
import { ME, NODE, openWorld, type World } from './world.ts'

let world: World
let source: string
const sum = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex')
const at = (name: string): string => path.join(world.dir, name)
beforeAll(async () => {
  world = await openWorld()
  source = at('source.bin')
  writeFileSync(source, randomBytes(20_000_000))
})
afterAll(() => world.close())

describe('files are copied whole', () => {
  test.each([
    ['scp', []],
    ['scp of old', ['-O']],
  ])('%s', async (name, args) => {
    const copy = at(`${name.replaceAll(' ', '-')}.bin`)
    const there = at('there.bin')
    await world.run('scp', [...world.config, ...args, source, `${NODE}:${there}`])
    const back = await world.run('scp', [...world.config, ...args, `${NODE}:${there}`, copy])
    expect(back).toMatchObject({ code: 0, stderr: '' })
    expect(sum(copy)).toBe(sum(source))
  })

  test('sftp, with each operation in the audit log', async () => {
    const batch = `put ${source} ${at('sftp.bin')}\nget ${at('sftp.bin')} ${at('back.bin')}
rename ${at('sftp.bin')} ${at('moved.bin')}\nmkdir ${at('made')}\nrmdir ${at('made')}\nrm ${at('moved.bin')}\n`
    writeFileSync(at('batch'), batch)
    const result = await world.run('sftp', [...world.config, '-b', at('batch'), NODE])
    expect(result).toMatchObject({ code: 0, stderr: '' })
    expect(sum(at('back.bin'))).toBe(sum(source))
    const removed = await world.ctx.auditedOnce(
      'session.file',
      (event) => event.fields['operation'] === 'remove',
    )
    expect(removed.fields['path']).toBe(at('moved.bin'))
    const seen = world.ctx.audited
      .filter((event) => event.type === 'session.file' && event.session === removed.session)
      .map((event) => event.fields['operation'])
    expect(seen).toEqual(['start', 'write', 'read', 'rename', 'mkdir', 'rmdir', 'remove'])
  })

  test('rsync, up, down and by difference', async () => {
    const shell = `ssh ${world.config.join(' ')}`
    mkdirSync(at('tree'))
    writeFileSync(at('tree/a'), 'a')
    writeFileSync(at('tree/b'), randomBytes(3_000_000))
    const rsync = (...args: string[]) => world.run('rsync', ['-a', '-e', shell, ...args])
    expect(await rsync(`${at('tree')}/`, `${NODE}:${at('tree2')}/`)).toMatchObject({ code: 0 })
    writeFileSync(at('tree/a'), 'changed')
    await rsync(`${at('tree')}/`, `${NODE}:${at('tree2')}/`)
    expect(await rsync(`${NODE}:${at('tree2')}/`, `${at('tree3')}/`)).toMatchObject({ code: 0 })
    expect(sum(at('tree3/b'))).toBe(sum(at('tree/b')))
    expect(readFileSync(at('tree3/a'), 'utf8')).toBe('changed')
  })
})

describe('a role without file copy', () => {
  let closed: World
  beforeAll(async () => {
    closed = await openWorld({ roles: [openRole('access', [ME], { fileCopy: false })] })
  })
  afterAll(() => closed.close())

  test.each([
    ['scp', ['scp']],
    ['scp -O', ['scp', '-O']],
  ])('%s is told why not', async (_name, [program = '', ...args]) => {
    const copy = path.join(closed.dir, 'x')
    const result = await closed.run(program, [...closed.config, ...args, source, `${NODE}:${copy}`])
    expect(result.code).not.toBe(0)
    expect(result.stderr).toMatch(/postern: your role does not allow copying files/)
  })

  test('rsync and sftp-server as a command are told why not', async () => {
    for (const command of ['rsync --server -e.LsfxC . /tmp/x', '/usr/lib/openssh/sftp-server']) {
      const result = await closed.ssh([NODE, command])
      expect(result).toMatchObject({
        code: 126,
        stderr: 'postern: your role does not allow copying files\r\n',
      })
    }
    const refused = await closed.ctx.auditedOnce('session.refused')
    expect(refused.reason).toBe('ssh_file_copy')
  })

  test('a shell still works', async () => {
    expect(await closed.ssh([NODE, 'echo ok'])).toMatchObject({ code: 0, stdout: 'ok\n' })
  })
})
