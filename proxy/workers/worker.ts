/**
 * A worker: one process of a proxy that has several. It is a whole proxy that reaches the table and the control plane by way of the
 * first process, shares its lease, and brings a user to an agent that is at another worker.
 */
import type { Clock } from '../../core/clock.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Log } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics/metrics.ts'
import type { Random } from '../../core/random.ts'
import { createWindowBudget } from '../../core/tunnel/window-budget.ts'
import type { Proxy, ProxyDeps } from '../proxy.ts'
import { createPort } from './port.ts'
import type { PrimaryCalls, WorkerCalls, WorkerStart } from './protocol.ts'
import { createWorkerSiblings } from './siblings.ts'

/** What a worker's proxy is made with. */
export type WorkerParts = Required<Pick<ProxyDeps, 'presence' | 'policy' | 'together'>> & {
  onPolicy: NonNullable<ProxyDeps['onPolicy']>
}

export interface OpenedProxy<Given> {
  readonly proxy: Proxy
  readonly port: number
  readonly metrics: Metrics
  update(given: Given): void
  close(): Promise<void>
}

/** The channel to the process that started this one. */
export interface Channel {
  send(message: object): void
  onMessage(fn: (message: unknown) => void): void
}

export function runWorker<Given>(deps: {
  readonly channel: Channel
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Makes the proxy and its listener; the proxy is not started yet. */
  open(start: WorkerStart<Given>, parts: WorkerParts): Promise<OpenedProxy<Given>>
}): void {
  const { channel, clock, random, log } = deps
  let opened: OpenedProxy<Given> | undefined
  let siblings: ReturnType<typeof createWorkerSiblings> | undefined

  const ours: WorkerCalls<Given> = {
    async start(start) {
      const budget = createWindowBudget(Math.floor(LIMITS.windowProcess.value / start.of))
      siblings = createWorkerSiblings({
        budget,
        tell: (added, closed) => void primary.call('changed', added, closed).catch(() => undefined),
        clock,
        random,
        log,
      })
      for (const other of start.others) siblings.take(other)
      await siblings.listen(start.path)
      opened = await deps.open(start, {
        presence: {
          renewLease: (lease) => primary.call('renewLease', lease),
          endLease: (...of) => primary.call('endLease', ...of),
          liveProxies: (now) => primary.call('liveProxies', now),
          putTunnel: (row) => primary.call('putTunnel', row),
          endTunnel: (row, now) => primary.call('endTunnel', row, now),
          tunnelsOf: (agentId) => primary.call('tunnelsOf', agentId),
          policyCounts: () => primary.call('policyCounts'),
          departuresSince: (...of) => primary.call('departuresSince', ...of),
        },
        policy: {
          policy: () => primary.call('policy'),
          freshness: () => primary.call('freshness'),
        },
        onPolicy: (policy) => void primary.call('policyTaken', policy).catch(() => undefined),
        together: { bootId: start.bootId, of: start.of, budget, siblings },
      })
      await opened.proxy.start()
      return opened.port
    },
    update: (given) => opened?.update(given),
    news: (news) => siblings?.take(news),
    ready: () => opened?.proxy.ready() ?? { ok: false, facts: { state: 'starting' } },
    dump: () => opened?.metrics.dump() ?? [],
    async drain(ms) {
      await opened?.proxy.drain(ms)
      await opened?.close()
    },
  }
  const primary = createPort<PrimaryCalls, WorkerCalls<Given>>({
    send: (message) => channel.send(message),
    ours,
  })
  channel.onMessage((message) => primary.receive(message))
  // What is sent to a process before it listens is lost: it says when it does.
  void primary.call('here').catch(() => undefined)
}
