/**
 * Drives simulated time under real sockets: a step is taken only when every HTTP call is answered and a byte made the round trip
 * through the tunnels, so that no deadline is missed merely because the clock runs faster than the machine.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { ClientRequest } from 'node:http'
import { connect, type Socket } from 'node:net'
import { once } from 'node:events'
import type { HandClock } from '../../support/clock.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const START = 'http.client.request.start'

export interface Driver {
  /** Moves time on by `ms` in small steps. `beat` runs after every few of them, and at the end. */
  pass(ms: number, beat?: () => Promise<void>): Promise<void>
  /** Reads the store once: what was written before has been taken by then. */
  store: (() => Promise<unknown>) | undefined
  /** Moves time on until the promise settles. */
  during<T>(work: Promise<T>): Promise<T>
  close(): void
}

/** Below every interval that matters for liveness: leases are renewed every 5 s. */
const STEP = 4500
/** A beat after so many: well below the silence that a ping would break. */
const STEPS_PER_BEAT = 10

export function driver(clock: HandClock): Driver {
  let open = 0
  const onStart = (message: unknown): void => {
    const { request } = message as { request: ClientRequest }
    if (!/^\/(v1|\.well-known)\//.test(request.path)) return
    open += 1
    request.once('close', () => (open -= 1))
  }
  subscribe(START, onStart)
  async function settle(): Promise<void> {
    await turn()
    while (open > 0) await turn()
    await made.store?.()
    await made.store?.()
    await turn()
  }
  const made: Driver = {
    store: undefined,
    async pass(ms, beat) {
      let steps = 0
      for (let left = ms; left > 0; left -= STEP) {
        clock.advance(Math.min(STEP, left))
        await settle()
        if (++steps % STEPS_PER_BEAT === 0 || left <= STEP) await beat?.()
      }
    },
    async during(work) {
      let done = false
      const over = work.finally(() => (done = true))
      over.catch(() => undefined)
      while (!done) {
        await settle()
        await turn()
        if (!done) clock.advance(20)
      }
      return over
    },
    close: () => void unsubscribe(START, onStart),
  }
  return made
}

/** A connection to an echoing app that proves, each time it is asked, that it is the one that was opened. */
export async function openStream(port: number): Promise<{
  beat(): Promise<void>
  readonly closed: Promise<void>
  readonly beats: number
  end(): void
}> {
  const socket: Socket = connect({ port, host: '127.0.0.1' })
  await once(socket, 'connect')
  let beats = 0
  const closed = new Promise<void>((resolve) => {
    socket.on('error', () => undefined)
    socket.on('close', () => resolve())
  })
  return {
    get beats() {
      return beats
    },
    closed,
    async beat() {
      const sent = `${(beats += 1)};`
      const back = new Promise<string>((resolve, reject) => {
        let got = ''
        const take = (part: Buffer): void => {
          got += part.toString('latin1')
          if (got.length < sent.length) return
          socket.off('data', take)
          resolve(got)
        }
        socket.on('data', take)
        void closed.then(() => reject(new Error(`the stream ended after ${beats - 1} beats`)))
      })
      socket.write(sent)
      if ((await back) !== sent) throw new Error('another byte came back')
    },
    end: () => socket.destroy(),
  }
}
