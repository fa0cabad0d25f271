// Whoever reads a service's log may go away: a restarted collector, a `| head`, a terminal that was closed.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'

const uncaught = pathToFileURL(join(import.meta.dirname, '../../../cli/ui/uncaught.ts')).href
/** Logs one line when told to, gives what follows from it two hundred turns, and writes down how many lines there were. */
const PROGRAM = `
import { writeFileSync } from 'node:fs'
import { uncaughtInto } from ${JSON.stringify(uncaught)}
let lines = 0
const write = () => { lines += 1; process.stderr.write('a line\\n') }
uncaughtInto({ info: write, warn: write, error: write })
process.stdin.once('data', () => {
  write()
  let turns = 0
  const turn = () => {
    if ((turns += 1) < 200) return setImmediate(turn)
    writeFileSync(process.env.LINES, String(lines))
    process.exit(0)
  }
  turn()
})
`

test('a service whose log nobody reads any more goes on, and does not log about its log', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'postern-log-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  const file = join(dir, 'lines')
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', '--input-type=module', '--eval', PROGRAM],
    {
      env: { ...process.env, LINES: file },
    },
  )
  child.stderr.destroy()
  child.stdout.destroy()
  child.stdin.write('go')
  expect(await once(child, 'exit')).toEqual([0, null])
  expect(await readFile(file, 'utf8')).toBe('1')
})
