/** Terminals: size, resize, modes, keys, and every byte of output with the exit code. */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { NODE, openWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world.close())

const ssh = (...args: string[]): string[] => [...world.config, '-tt', ...args]

test('all output of a program on a terminal arrives, with its exit code', async () => {
  for (let round = 0; round < 5; round++) {
    const result = await world.run('ssh', ssh(NODE, 'seq 1 50000; exit 9'))
    expect(result.code).toBe(9)
    const lines = result.stdout.trimEnd().split('\r\n')
    expect([lines.length, lines.at(-1)]).toEqual([50000, '50000'])
  }
})

test('the terminal is the controlling one, belongs to the user and is named', async () => {
  const result = await world.run(
    'ssh',
    ssh(NODE, 'tty; echo $SSH_TTY; ps -o tty= -p $$; echo $TERM'),
    {
      env: { TERM: 'xterm-256color' },
    },
  )
  const [tty, named, controlling, term] = result.stdout.trimEnd().split(/\s*\r\n/)
  expect(tty).toMatch(/^\/dev\/pts\/\d+$/)
  expect([named, `/dev/${controlling}`, term]).toEqual([tty, tty, 'xterm-256color'])
})

/** Runs an expect script, which gives ssh a terminal of its own. */
async function expectScript(script: string): Promise<{ code: number | null; stdout: string }> {
  const file = path.join(world.dir, 'script.exp')
  const spawnLine = `spawn ssh ${world.config.join(' ')} -t ${NODE}`
  writeFileSync(file, `set timeout 20\nlog_user 1\n${script.replace('SPAWN', spawnLine)}\n`)
  return world.run('expect', ['-f', file], { env: { TERM: 'xterm', LC_ALL: 'C.UTF-8' } })
}

test('a login shell is interactive: job control, ^C, its exit code', async () => {
  const result = await expectScript(`
SPAWN
expect -re {[$#] $}
send "PS1='READY> '\\r"
expect "READY> "
send "echo \\$0 \\$-\\r"
expect -re {-[a-z]*sh [a-zA-Z]*i[a-zA-Z]*m} {} timeout {exit 91}
expect "READY> "
send "sleep 60\\r"
sleep 0.3
send "\\003"
expect "READY> " {} timeout {exit 92}
send "exit 5\\r"
expect eof
exit [lindex [wait] 3]`)
  expect(result.code, result.stdout).toBe(5)
})

test('the size follows the window', async () => {
  const result = await expectScript(`
SPAWN "trap 'stty size; exit 0' WINCH; stty size; echo armed; while :; do sleep 0.05; done"
expect "armed"
stty rows 41 columns 133 < $spawn_out(slave,name)
expect "41 133" {exit 0} timeout {exit 1}`)
  expect(result.code, result.stdout).toBe(0)
})

test('modes that the client sends are set', async () => {
  const result = await expectScript(`
set stty_init "-echo intr ^K"
SPAWN "stty -a; exit 0"
expect eof`)
  expect(result.stdout).toMatch(/intr = \^K/)
  expect(result.stdout).toMatch(/[^a-z]-echo\b/)
})

test('a lost client hangs the terminal up', async () => {
  const child = world.start('ssh', ssh(NODE, 'echo $$; exec sleep 60'))
  const [chunk] = (await once(child.stdout ?? child, 'data')) as [Buffer]
  const pid = Number(chunk.toString())
  child.kill('SIGKILL')
  const alive = (): boolean => {
    try {
      return process.kill(pid, 0)
    } catch {
      return false
    }
  }
  await expect.poll(alive, { timeout: 30_000 }).toBe(false)
})
