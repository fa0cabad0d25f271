// Several ways to one agent, over real sessions in memory: who is asked, in which order, and whose word counts.
import { expect, test } from 'vitest'
import { AppError, type ErrorCode } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'
import { createSession, type Session } from '../../../core/tunnel/session.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import { createWindowBudget } from '../../../core/tunnel/window-budget.ts'
import { firstAnswer, type AnyWay } from '../../../proxy/first-answer.ts'
import { handClock } from '../../support/clock.ts'
import { failure } from '../../support/pki.ts'
import { memoryPair } from '../../support/transports.ts'

const clock = handClock()
const limits = { pingIdle: 3_600_000, deadAfter: 7_200_000, openTimeout: 3_600_000 }
const PAYLOAD = Buffer.from('open')

interface Way extends AnyWay {
  readonly name: string
  readonly asked: Promise<TunnelStream>
}

/** A tunnel whose other end answers an OPEN with `answer`; 'mute': nobody is there at all. */
function way(name: string, answer: ((stream: TunnelStream) => void) | 'mute'): Way {
  const pair = memoryPair()
  let heard: (stream: TunnelStream) => void = () => undefined
  const asked = new Promise<TunnelStream>((resolve) => (heard = resolve))
  const common = { clock, budget: createWindowBudget(), limits }
  if (answer !== 'mute')
    createSession(pair.server, {
      ...common,
      side: 'server',
      onOpen(stream) {
        answer(stream)
        heard(stream)
      },
    })
  const session: Session = createSession(pair.client, {
    ...common,
    side: 'client',
    onOpen: (stream) => stream.refuse('ERR_INTERNAL'),
  })
  return { name, session, suspect: false, asked }
}
const accepts = (stream: TunnelStream): void => stream.accept()
const refuses = (code: ErrorCode) => (stream: TunnelStream) => stream.refuse(code)
const thinks = (): void => undefined

function ask(ways: readonly Way[], gone = new AbortController().signal) {
  const reached: string[] = []
  let retries = 0
  async function* each(): AsyncGenerator<Way> {
    for (const one of ways) {
      reached.push(one.name)
      await Promise.resolve()
      yield one
    }
  }
  const answer = firstAnswer(each(), PAYLOAD, gone, { clock, onRetry: () => (retries += 1) })
  answer.catch(() => undefined)
  return { answer, reached, retries: () => retries }
}

test('the first that answers is taken, and nobody else is asked', async () => {
  const w = ask([way('a', accepts), way('b', accepts)])
  expect((await w.answer).way.name).toBe('a')
  expect(w.reached).toEqual(['a'])
})

test.each<ErrorCode>(['ERR_TUNNEL_CLOSED', 'ERR_RESOURCE_OFFLINE', 'ERR_PROXY_BUSY'])(
  '%s is no answer: the next is asked',
  async (code) => {
    const w = ask([way('a', refuses(code)), way('b', accepts)])
    expect((await w.answer).way.name).toBe('b')
    expect(w.retries()).toBe(1)
  },
)

test('a refusal of the agent stands: nobody else is asked to let the user in', async () => {
  const w = ask([way('a', refuses('ERR_ACCESS_DENIED')), way('b', accepts)])
  expect((await failure(() => w.answer))?.code).toBe('ERR_ACCESS_DENIED')
  expect(w.reached).toEqual(['a'])
})

test('a tunnel that is closed already is passed by', async () => {
  const dead = way('a', accepts)
  dead.session.close(new AppError('ERR_TUNNEL_CLOSED'))
  expect((await ask([dead, way('b', accepts)]).answer).way.name).toBe('b')
})

test('a silent way is suspected and another is asked, and it is not given up', async () => {
  const silent = way('a', 'mute')
  const slow = way('b', thinks)
  const w = ask([silent, slow])
  await new Promise((resolve) => setImmediate(resolve))
  expect(w.reached).toEqual(['a'])
  clock.advance(LIMITS.suspectAfter.value)
  const stream = await slow.asked
  expect(silent.suspect).toBe(true)
  stream.accept()
  expect((await w.answer).way.name).toBe('b')
})

test('an agent that thinks but lives is waited for, and not asked twice', async () => {
  const slow = way('a', thinks)
  const w = ask([slow, way('b', accepts)])
  const stream = await slow.asked
  // Answered after the probe that firstAnswer sent.
  await slow.session.ping()
  clock.advance(10 * LIMITS.suspectAfter.value)
  expect(slow.suspect).toBe(false)
  stream.accept()
  expect((await w.answer).way.name).toBe('a')
  expect(w.reached).toEqual(['a'])
})

test('no way, or none that leads there, is ERR_RESOURCE_OFFLINE', async () => {
  expect((await failure(() => ask([]).answer))?.code).toBe('ERR_RESOURCE_OFFLINE')
  const closed = way('a', refuses('ERR_TUNNEL_CLOSED'))
  expect((await failure(() => ask([closed]).answer))?.code).toBe('ERR_RESOURCE_OFFLINE')
})

test('an agent that takes the request for a replay, because a way that died had brought it, does not end the user’s tries', async () => {
  const dying = way('a', thinks)
  const w = ask([dying, way('b', refuses('ERR_PROOF_INVALID'))])
  await dying.asked
  dying.session.close(new AppError('ERR_TUNNEL_CLOSED'))
  expect((await failure(() => w.answer))?.code).toBe('ERR_TUNNEL_CLOSED')
  // With nothing lost it is the agent's word on the proof.
  const alone = ask([way('a', refuses('ERR_PROOF_INVALID'))])
  expect((await failure(() => alone.answer))?.code).toBe('ERR_PROOF_INVALID')
})

test('when the user goes, the asking ends with that reason and the agent is told', async () => {
  const slow = way('a', thinks)
  const gone = new AbortController()
  const w = ask([slow, way('b', accepts)], gone.signal)
  const stream = await slow.asked
  const told = new Promise((resolve) => (stream.onclose = resolve))
  gone.abort(new AppError('ERR_STREAM_RESET', 'the user is gone'))
  await expect(w.answer).rejects.toThrow('the user is gone')
  expect(await told).toBeInstanceOf(AppError)
  expect(w.reached).toEqual(['a'])
})

test.each<ErrorCode>(['ERR_STREAM_RESET', 'ERR_TIMEOUT', 'ERR_INTERNAL'])(
  'a tunnel that ends with %s while it is asked, as a dial that came second does, is passed by',
  async (code) => {
    const ending = way('a', thinks)
    const w = ask([ending, way('b', accepts)])
    await ending.asked
    ending.session.close(new AppError(code))
    expect((await w.answer).way.name).toBe('b')
  },
)
