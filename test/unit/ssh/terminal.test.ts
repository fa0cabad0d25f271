// The last bytes of a terminal are read past the stream, by the descriptor: only while the stream still owns it.
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import { expect, onTestFinished, test } from 'vitest'
import { openTerminal } from '../../../agent/services/ssh/helper/terminal.ts'
import type { ProgramExit } from '../../../agent/services/ssh/helper-client.ts'
import { attachTerminal } from '../../../agent/services/ssh/server/terminal.ts'
import type { ChannelInternals } from '../../../agent/services/ssh/ssh2/internals.ts'
import { systemClock } from '../../../core/clock.ts'

const SECRET = 'of another session'

function session() {
  const { master, slave } = openTerminal({ columns: 80, rows: 24, width: 0, height: 0 }, new Map())
  const sent: Buffer[] = []
  const channel = Object.assign(new PassThrough(), {
    stderr: new PassThrough().resume(),
    exit: () => undefined,
  })
  // A client that types nothing: what the session writes to it is noted, and nothing comes back.
  channel.write = ((chunk: Buffer, done?: () => void): boolean => {
    sent.push(Buffer.from(chunk))
    done?.()
    return true
  }) as typeof channel.write
  let exit: (exit: ProgramExit) => void = () => undefined
  const exited = new Promise<ProgramExit>((resolve) => (exit = resolve))
  const ended = new Promise<number>((resolve) => {
    attachTerminal(
      channel as unknown as ChannelInternals,
      { pid: 0, fds: [master], exited, resize() {}, signal() {}, release() {} },
      systemClock,
      resolve,
    )
  })
  return { master, slave, ended, exit, text: () => Buffer.concat(sent).toString() }
}

test('a terminal whose helper died reads nothing from whoever has its number now', async () => {
  const { master, slave, ended, exit, text } = session()
  const dir = mkdtempSync(path.join(tmpdir(), 'postern-terminal-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  const file = path.join(dir, 'secret')
  writeFileSync(file, SECRET)

  closeSync(slave)
  // The stream notices in a turn of its own; from then on the number is free, and this test takes it.
  const opened: number[] = []
  await expect
    .poll(() => {
      const fd = openSync(file, 'r')
      if (fd !== master) opened.push(fd)
      return fd
    })
    .toBe(master)
  opened.forEach((fd) => closeSync(fd))
  onTestFinished(() => closeSync(master))

  exit({ signal: 9 })
  await ended
  await new Promise(setImmediate)
  expect(text()).not.toContain(SECRET)
})

test('what a program wrote last arrives, though it has ended', async () => {
  const { slave, ended, exit, text } = session()
  onTestFinished(() => closeSync(slave))
  writeFileSync(slave, 'last words')
  exit({ code: 0 })
  await ended
  await expect.poll(text).toContain('last words')
})
