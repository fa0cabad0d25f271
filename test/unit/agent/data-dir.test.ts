/** The data directory: private, held by one process, and whole after a crash at any moment. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  ensurePrivateDir,
  readPrivate,
  sweepTemporaries,
  writeAtomic,
} from '../../../agent/identity/files.ts'
import { lockDataDir } from '../../../agent/identity/lock.ts'
import { openIdentityStore } from '../../../agent/identity/store.ts'
import { keySigner, thumbprint } from '../../../core/certs/signer.ts'
import { systemRandom } from '../../../core/random.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'postern-data-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const writer = new URL('./atomic-writer.ts', import.meta.url).pathname

describe('files', () => {
  test('a directory that others may write to is refused', async () => {
    const open = join(dir, 'open')
    mkdirSync(open)
    chmodSync(open, 0o770)
    await expect(ensurePrivateDir(open)).rejects.toMatchObject({ code: 'ERR_DATA_DIR_UNSAFE' })
  })

  test('a symbolic link in place of the directory is refused', async () => {
    const real = join(dir, 'real')
    mkdirSync(real, { mode: 0o700 })
    symlinkSync(real, join(dir, 'link'))
    await expect(ensurePrivateDir(join(dir, 'link'))).rejects.toMatchObject({
      code: 'ERR_DATA_DIR_UNSAFE',
    })
  })

  test('a readable directory is closed to others, a new one is made private', async () => {
    const seen = join(dir, 'seen')
    mkdirSync(seen)
    chmodSync(seen, 0o755)
    await ensurePrivateDir(seen)
    await ensurePrivateDir(join(dir, 'new'))
    expect([seen, join(dir, 'new')].map((d) => statSync(d).mode & 0o777)).toEqual([0o700, 0o700])
  })

  test('files are private and a link in their place is not followed', async () => {
    const path = join(dir, 'key')
    await writeAtomic(path, 'secret')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    symlinkSync('/etc/passwd', join(dir, 'link'))
    await expect(readPrivate(join(dir, 'link'), 1e6)).rejects.toMatchObject({
      code: 'ERR_DATA_DIR_UNSAFE',
    })
    expect(await readPrivate(join(dir, 'none'), 10)).toBeUndefined()
    await expect(readPrivate(path, 3)).rejects.toMatchObject({ code: 'ERR_DATA_DIR_UNSAFE' })
  })

  // A machine that loses power in the middle of a renewal must not lose its identity.
  test('kill -9 in the middle of replacing a file leaves the old or the new one, whole', async () => {
    const path = join(dir, 'identity.json')
    for (let round = 0; round < 5; round++) {
      const child = spawn(process.execPath, ['--import', 'tsx', writer, path], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const lines = createInterface({ input: child.stdout })
      let told = -1
      for await (const line of lines) {
        told = Number(line)
        if (told >= 3 + round * 2) break
      }
      child.kill('SIGKILL')
      await once(child, 'exit')
      const found = JSON.parse(readFileSync(path, 'utf8')) as { n: number; pad: string }
      expect(found.n).toBeGreaterThanOrEqual(told)
      expect(found.pad).toHaveLength(200_000)
    }
    await sweepTemporaries(dir)
    expect(readdirSync(dir)).toEqual(['identity.json'])
  })
})

describe('the lock', () => {
  test('a second holder is refused and told who holds it', async () => {
    const lock = await lockDataDir(dir)
    await expect(lockDataDir(dir)).rejects.toMatchObject({
      code: 'ERR_DATA_DIR_HELD',
      message: `process ${process.pid} holds ${dir}`,
    })
    await lock.release()
    await (await lockDataDir(dir)).release()
    expect(readdirSync(dir)).toEqual([])
  })

  test.each([
    ['a dead process', { pid: 2 ** 22 - 3, started: '1', boot: 'x' }],
    ['a process that got the pid later', { pid: process.pid, started: '1', boot: 'x' }],
    ['an earlier boot', { pid: 1, started: '1', boot: 'another' }],
    ['nothing readable', 'garbage'],
  ])('a lock left by %s counts for nothing', async (_what, left) => {
    writeFileSync(join(dir, 'agent.lock'), JSON.stringify(left))
    await (await lockDataDir(dir)).release()
  })

  test('of many who clear a dead lock at once, exactly one gets it', async () => {
    writeFileSync(join(dir, 'agent.lock'), 'garbage')
    const tries = await Promise.allSettled(Array.from({ length: 20 }, () => lockDataDir(dir)))
    expect(tries.filter((t) => t.status === 'fulfilled')).toHaveLength(1)
  })
})

describe('keys', () => {
  test('the enrolment key is made once, also by two who ask at once', async () => {
    const store = await openIdentityStore(dir, systemRandom)
    const [a, b] = await Promise.all([store.enrolmentKey(), store.enrolmentKey()])
    const again = await (await openIdentityStore(dir, systemRandom)).enrolmentKey()
    const prints = [a, b, again].map((key) => thumbprint(keySigner(key).publicKey))
    expect(new Set(prints).size).toBe(1)
  })

  // The answer to a join can be lost; the repeat must be the same join.
  test('the next key of a join is the same after a crash', async () => {
    const store = await openIdentityStore(dir, systemRandom)
    const first = await store.nextKey('app', { purpose: 'join' })
    const after = await (
      await openIdentityStore(dir, systemRandom)
    ).nextKey('app', { purpose: 'join' })
    expect(after.key.equals(first.key)).toBe(true)
  })

  test('the next key of a renewal belongs to one generation', async () => {
    const store = await openIdentityStore(dir, systemRandom)
    const one = await store.nextKey('app', { purpose: 'renew', generation: 1 })
    const same = await store.nextKey('app', { purpose: 'renew', generation: 1 })
    expect(same.renewalId).toBe(one.renewalId)
    const two = await store.nextKey('app', { purpose: 'renew', generation: 2 })
    expect(two.renewalId).not.toBe(one.renewalId)
    expect(two.key.equals(one.key)).toBe(false)
  })

  test('a file that holds no identity counts as none, and is not deleted', async () => {
    const store = await openIdentityStore(dir, systemRandom)
    expect(await store.load('app')).toBeUndefined()
    writeFileSync(join(dir, 'app', 'identity.json'), '{"v":1', { mode: 0o600 })
    expect(await store.load('app')).toBeUndefined()
    expect(existsSync(join(dir, 'app', 'identity.json'))).toBe(true)
  })
})
