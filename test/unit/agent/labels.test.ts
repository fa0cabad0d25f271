/** Labels from commands, and how they are announced. */
import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import { createAnnouncer, type Announced } from '../../../agent/announce.ts'
import { createCommandLabels, runCommand, type CommandLabels } from '../../../agent/labels.ts'
import { systemClock } from '../../../core/clock.ts'
import { AppError } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'
import { systemRandom } from '../../../core/random.ts'
import { handClock } from '../../support/clock.ts'
import { recordingLog } from '../../support/recording-log.ts'

const signal = new AbortController().signal
const run = (...command: string[]): Promise<string | undefined> =>
  runCommand(command, { clock: systemClock, path: process.env['PATH'], signal })

describe('a command', () => {
  test.each<[string, string[], string | undefined]>([
    ['gives its first line', ['printf', 'one\\ntwo\\n'], 'one'],
    ['is not a shell line', ['echo', '$HOME; id'], '$HOME; id'],
    ['loses control characters', ['printf', '\\033[31mred\\007'], '[31mred'],
    [
      'is cut to what a label holds',
      ['sh', '-c', 'yes x | tr -d "\\n" | head -c 5000'],
      'x'.repeat(LIMITS.labelValue.value),
    ],
    ['that fails gives nothing', ['false'], undefined],
    ['that does not exist gives nothing', ['/nowhere/program'], undefined],
    ['that prints nothing gives nothing', ['true'], undefined],
    ['does not see the environment of the agent', ['sh', '-c', 'echo "[$SECRET]"'], '[]'],
  ])('%s', async (_what, command, value) => {
    process.env['SECRET'] = 'x'
    expect(await run(...command)).toBe(value)
    delete process.env['SECRET']
  })

  test('that runs too long is killed, and what it started as well', async () => {
    const clock = handClock()
    const ended = runCommand(['sh', '-c', 'sleep 1000 & sleep 1000'], {
      clock,
      path: undefined,
      signal,
    })
    clock.advance(LIMITS.commandLabelTimeout.value)
    expect(await ended).toBeUndefined()
  })
})

describe('the labels of a node', () => {
  const log = recordingLog()
  let labels: CommandLabels | undefined
  afterEach(() => labels?.stop())

  test('appear when their command has run, keep the last value when it fails, and go with it', async () => {
    const clock = handClock()
    const changes = new EventTarget()
    const changed = (): Promise<unknown> => once(changes, 'change')
    labels = createCommandLabels({
      clock,
      log,
      path: process.env['PATH'],
      onChange: () => void changes.dispatchEvent(new Event('change')),
    })
    const first = changed()
    labels.update([{ name: 'kernel', command: ['echo', 'six'], period: 60_000 }])
    await first
    expect(labels.values()).toEqual({ kernel: 'six' })
    // Another command under the same name: it fails, the value stays.
    labels.update([{ name: 'kernel', command: ['false'], period: 60_000 }])
    await log.seen('label.command_failed')
    expect(labels.values()).toEqual({ kernel: 'six' })
    labels.update([])
    expect(labels.values()).toEqual({})
  })
})

describe('announcing', () => {
  function world() {
    const clock = handClock()
    const sent: Announced[] = []
    const stop = new AbortController()
    const bus = new EventTarget()
    let now: Announced = []
    let fail: AppError | undefined
    const refused: string[] = []
    const announcer = createAnnouncer({
      resources: () => now,
      async send(resources) {
        sent.push(resources)
        queueMicrotask(() => bus.dispatchEvent(new Event('sent')))
        if (fail) throw fail
      },
      onRefused: (e) => refused.push(e.code),
      onRetry: () => undefined,
      onDone: () => undefined,
      clock,
      random: systemRandom,
      signal: stop.signal,
    })
    const running = announcer.run()
    const settle = (): Promise<unknown> => new Promise((resolve) => setImmediate(resolve))
    return {
      clock,
      sent,
      refused,
      settle,
      set: (name: string, hurry = false) => {
        now = [{ kind: 'app', name, labels: {}, protocol: 'tcp' }]
        announcer.changed(hurry)
      },
      failWith: (e: AppError | undefined) => {
        fail = e
      },
      async end() {
        stop.abort()
        await running
      },
    }
  }

  test('happens once at the start, and not again without a change', async () => {
    const w = world()
    await w.settle()
    w.clock.advance(10 * 60_000)
    await w.settle()
    expect(w.sent).toHaveLength(1)
    await w.end()
  })

  test('changes of command labels wait their minute, all of them go in one', async () => {
    const w = world()
    await w.settle()
    for (const name of ['a', 'b', 'c']) {
      w.set(name)
      await w.settle()
    }
    expect(w.sent).toHaveLength(1)
    w.clock.advance(LIMITS.announceInterval.value)
    await w.settle()
    expect(w.sent.map((r) => r[0]?.name)).toEqual([undefined, 'c'])
    await w.end()
  })

  test('a change of the configuration goes at once', async () => {
    const w = world()
    await w.settle()
    w.set('a', true)
    await w.settle()
    expect(w.sent).toHaveLength(2)
    await w.end()
  })

  test('a refusal is told and tried again after the pause, a network error with backoff', async () => {
    const w = world()
    w.failWith(new AppError('ERR_NAME_TAKEN'))
    w.set('a', true)
    await w.settle()
    const before = w.sent.length
    expect(w.refused).toContain('ERR_NAME_TAKEN')
    w.failWith(new AppError('ERR_UNREACHABLE'))
    w.clock.advance(LIMITS.announceInterval.value)
    await w.settle()
    w.failWith(undefined)
    w.clock.advance(LIMITS.backoffMax.value)
    await w.settle()
    expect(w.sent.length).toBeGreaterThanOrEqual(before + 2)
    await w.end()
  })
})
