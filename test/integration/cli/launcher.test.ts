// The launcher of a checkout: builds once when sources changed, never harms a build that is in use.
import { cp, mkdir, readdir, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { CHECKOUT, finish, start, temporaryHome, type Finished, type Home } from './postern.ts'

let home: Home
let checkout: string
beforeAll(async () => {
  home = await temporaryHome()
  checkout = join(home.dir, 'checkout')
  await mkdir(checkout)
  for (const name of [
    'core',
    'net',
    'functions',
    'proxy',
    'agent',
    'cli',
    'bin',
    'package.json',
    'package-lock.json',
  ])
    await cp(join(CHECKOUT, name), join(checkout, name), { recursive: true })
  await symlink(join(CHECKOUT, 'node_modules'), join(checkout, 'node_modules'))
})
afterAll(() => home.remove())

const version = (): Promise<Finished> =>
  finish(
    start(process.execPath, [join(checkout, 'bin/postern.mjs'), '--version'], {
      cwd: home.dir,
      env: home.env,
    }),
  )
const builds = async (): Promise<string[]> =>
  (await readdir(join(checkout, 'dist'))).filter((name) => name.startsWith('b-'))
const ok = { stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string, stderr: '', code: 0 }

test('launches at the same time build once, and all of them run', async () => {
  const all = await Promise.all([version(), version(), version(), version()])
  expect(all).toEqual([ok, ok, ok, ok])
  expect(await builds()).toHaveLength(1)
  expect((await readdir(join(checkout, 'dist'))).filter((n) => n.startsWith('.'))).toEqual([])
})

test('a changed source makes a new build and leaves the old one to whoever runs from it', async () => {
  const [old] = await builds()
  await utimes(join(checkout, 'cli/main.ts'), new Date(0), new Date(0))
  expect(await version()).toEqual(ok)
  expect(await builds()).toHaveLength(2)
  expect(await builds()).toContain(old)
})

test('a lock left by a build that was killed holds nobody up', async () => {
  await writeFile(join(checkout, 'dist/.lock'), '999999999')
  await utimes(join(checkout, 'dist/.lock'), new Date(0), new Date(0))
  await utimes(join(checkout, 'cli/main.ts'), new Date(1000), new Date(1000))
  expect(await version()).toEqual(ok)
})

test('a source that cannot be built is told as such', async () => {
  await writeFile(join(checkout, 'cli/main.ts'), 'const =')
  const done = await version()
  expect(done.stderr).toMatch(
    /^error: postern cannot be built from this checkout\n[\s\S]+hint: .+\n$/,
  )
  expect(done.code).toBe(1)
})
