/**
 * Sessions as another unix user: their ids and groups, nothing of root's, no way back. Needs root, to make users.
 * What it stops: a session that keeps a privilege of the agent (Warpgate, CVE-2024-45337 and their kin).
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openRole } from '../../fakes/service-context.ts'
import { NODE, openWorld, type World } from './world.ts'

const isRoot = process.getuid?.() === 0
if (!isRoot) console.warn('SKIPPED: sessions as other users need root')
const LOGIN = `pst${process.pid % 100000}`
const GROUP = `${LOGIN}g`
const TOOR = `${LOGIN}r`
const quiet = { stdio: 'ignore' } as const

describe.skipIf(!isRoot)('another unix user', () => {
  let world: World
  beforeAll(async () => {
    execFileSync('groupadd', [GROUP], quiet)
    execFileSync('useradd', ['-m', '-s', '/bin/bash', '-G', GROUP, LOGIN], quiet)
    execFileSync('useradd', ['-o', '-u', '0', '-s', '/bin/bash', TOOR], quiet)
    const logins = [LOGIN, TOOR]
    world = await openWorld({ logins, roles: [openRole('access', logins, { forwardAgent: true })] })
  })
  afterAll(async () => {
    await world.close()
    for (const user of [LOGIN, TOOR]) execFileSync('userdel', ['-f', user], quiet)
    execFileSync('groupdel', [GROUP], quiet)
    execFileSync('rm', ['-rf', `/home/${LOGIN}`], quiet)
  })
  const run = async (command: string): Promise<string> =>
    (await world.ssh([NODE, command])).stdout.trimEnd()

  test('has its ids, its groups and its home, and no capabilities', async () => {
    const lines = (
      await run('id -un; id -Gn; pwd; grep -E "^(Uid|CapPrm|CapEff|CapAmb)" /proc/self/status')
    ).split('\n')
    const uid = execFileSync('id', ['-u', LOGIN]).toString().trim()
    expect(lines).toEqual([
      LOGIN,
      `${LOGIN} ${GROUP}`,
      `/home/${LOGIN}`,
      `Uid:\t${uid}\t${uid}\t${uid}\t${uid}`,
      'CapPrm:\t0000000000000000',
      'CapEff:\t0000000000000000',
      'CapAmb:\t0000000000000000',
    ])
  })

  test('cannot become root again, nor trace or read the processes that serve it', async () => {
    const script = `
python3 - <<'PY' 2>/dev/null || true
import os
try: os.setuid(0); print("root!")
except OSError: print("setuid refused")
PY
cat /proc/$PPID/environ 2>&1 | head -c 100
ls /proc/$PPID/fd 2>&1 | tail -1
kill -0 ${process.pid} 2>&1 | tail -1
cat /proc/${process.pid}/environ 2>&1 | head -c 100
`
    const text = await run(script)
    expect(text).not.toContain('root!')
    expect(text.match(/Permission denied|not permitted/g)?.length).toBeGreaterThanOrEqual(4)
  })

  test('files, terminals and sockets that it makes are its own', async () => {
    const onTerminal = await world.run('ssh', [
      ...world.config,
      '-tt',
      NODE,
      'stat -c "%U %a" $(tty); exit',
    ])
    expect(onTerminal.stdout).toMatch(new RegExp(`^${LOGIN} 6[02]0`))
    const home = `/home/${LOGIN}`
    writeFileSync(
      path.join(world.dir, 'batch'),
      `put ${path.join(world.dir, 'batch')} ${home}/up\n`,
      { mode: 0o644 },
    )
    await world.run('sftp', [...world.config, '-b', path.join(world.dir, 'batch'), NODE])
    expect(await run(`stat -c %U:%a ${home}/up`)).toBe(`${LOGIN}:644`)
  })

  test('forwards have its rights: a socket of root cannot be reached', async () => {
    const dir = path.join('/tmp', `${LOGIN}-root`)
    mkdirSync(dir)
    const socket = path.join(dir, 's')
    const server = createServer((s) => s.end('secret')).listen(socket)
    await new Promise((resolve) => server.once('listening', resolve))
    chmodSync(socket, 0o600)
    const local = path.join(world.dir, 'l.sock')
    const got = await world.run('bash', [
      '-c',
      `ssh ${world.config.join(' ')} -N -L ${local}:${socket} ${NODE} & p=$!; for i in $(seq 100); do [ -S ${local} ] && break; sleep 0.1; done; timeout 5 python3 -c "
import socket
s=socket.socket(socket.AF_UNIX); s.connect('${local}'); print(repr(s.recv(99)))"; kill $p`,
    ])
    expect(got.stdout.trim()).toBe("b''")
    expect(got.stderr).toMatch(/EACCES/)
    server.close()
    execFileSync('rm', ['-rf', dir])
    const bound = await world.ssh([
      '-o',
      'ExitOnForwardFailure=yes',
      '-R',
      '81:127.0.0.1:1',
      NODE,
      'true',
    ])
    expect(bound.code).not.toBe(0)
  })

  test('root by another name is refused', async () => {
    const result = await world.ssh(['-l', TOOR, NODE, 'id'])
    expect(result.code).toBe(255)
    expect(result.stderr).toMatch(/is root by another name/)
  })

  test('a home that cannot be entered does not keep it out', async () => {
    execFileSync('mv', [`/home/${LOGIN}`, `/home/${LOGIN}.away`])
    writeFileSync(`/home/${LOGIN}`, '')
    expect(await run('pwd')).toBe('/')
    execFileSync('bash', ['-c', `rm /home/${LOGIN}; mv /home/${LOGIN}.away /home/${LOGIN}`])
  })
})
