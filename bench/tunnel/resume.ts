/**
 * `npm run bench:resume`: what the records of a resumable stream cost: the same bytes over two sessions joined by TCP on loopback, with and
 * without them, interleaved. Nothing is encrypted, so the ratio here is the worst that it can be. BENCH_MIB (default 256) bytes of one run,
 * BENCH_ROUNDS (default 5).
 */
import { systemClock } from '../../core/clock.ts'
import { LIMITS } from '../../core/limits.ts'
import { ResumableStream } from '../../core/tunnel/resume.ts'
import { createSession } from '../../core/tunnel/session.ts'
import type { TunnelStream } from '../../core/tunnel/stream.ts'
import { createWindowBudget } from '../../core/tunnel/window-budget.ts'
import { tcpPair } from '../../test/support/transports.ts'
import { compare, save } from '../support/rounds.ts'

const total = Number(process.env['BENCH_MIB'] ?? 256) << 20
const block = Buffer.alloc(65_536, 7)

async function run(resumable: boolean): Promise<number> {
  const pair = await tcpPair()
  const budget = createWindowBudget()
  const offered = new Promise<TunnelStream>((resolve) => {
    createSession(pair.server, { side: 'server', clock: systemClock, budget, onOpen: resolve })
  })
  const client = createSession(pair.client, {
    side: 'client',
    clock: systemClock,
    budget,
    onOpen: (stream) => stream.refuse('ERR_FORBIDDEN'),
  })
  const opening = client.open(Buffer.alloc(0))
  const there = await offered
  there.accept()
  const wrap = (leg: TunnelStream): TunnelStream => {
    if (!resumable) return leg
    const replay = createWindowBudget(LIMITS.replayProcess.value)
    const stream = new ResumableStream({ clock: systemClock, budget: replay })
    stream.attach(leg, { peerNext: 0 })
    return stream
  }
  const from = wrap(await opening)
  const to = wrap(there)
  const began = performance.now()
  await new Promise<void>((resolve) => {
    let got = 0
    to.ondata = (bytes) => {
      got += bytes.length
      to.consumed(bytes.length)
      if (got >= total) resolve()
    }
    let left = total
    const go = (): void => {
      while (left > 0) {
        left -= block.length
        if (!from.write(block)) return
      }
    }
    from.ondrain = go
    from.start()
    to.start()
    go()
  })
  const took = performance.now() - began
  client.close()
  await pair.dispose()
  return total / took / 1000
}

save('resume', [
  await compare(
    'bulk, 1 stream, nothing encrypted',
    'MB/s',
    'stated',
    [
      { name: 'resumable', run: () => run(true) },
      { name: 'plain', run: () => run(false) },
    ],
    Number(process.env['BENCH_ROUNDS'] ?? 5),
  ),
])
