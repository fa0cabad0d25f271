/**
 * The first process of a proxy that has several: starts the workers, hands them what they need, starts those again that end, and
 * speaks for all of them. It takes no tunnel itself, so that whatever a peer sends can harm one worker at most.
 */
import cluster, { type Worker } from 'node:cluster'
import { rmSync } from 'node:fs'
import path from 'node:path'
import { sleep, type Clock } from '../../core/clock.ts'
import type { Policy } from '../../core/domain/policy.ts'
import type { PresenceStore } from '../../core/domain/presence.ts'
import { AppError, reasonOf } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Log } from '../../core/log.ts'
import type { Metrics, MetricsDump } from '../../core/metrics/metrics.ts'
import { counted, together } from '../../core/metrics/together.ts'
import type { Random } from '../../core/random.ts'
import type { Health } from '../../net/diagnostics.ts'
import type { PolicySource } from '../policy-source.ts'
import { within } from '../within.ts'
import { createPort, type Port } from './port.ts'
import type { News, PrimaryCalls, WorkerCalls } from './protocol.ts'
import { createRoster } from './roster.ts'
import { createSharedTable, shared } from './shared-table.ts'

export interface WorkersDeps<Given> {
  readonly count: number
  /** The program that a worker is, and its arguments. */
  readonly program: { readonly exec: string; readonly args: readonly string[] }
  /** A directory that only this user can enter, for the workers' sockets. */
  readonly dir: string
  readonly presence: PresenceStore
  readonly policy: PolicySource
  /** What each worker is given now. */
  given(): Given
  onPolicy(policy: Policy): void
  readonly metrics: Metrics
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

export interface Workers {
  /** Resolves with the port when all of them serve; rejects with why the first of them could not. */
  start(): Promise<number>
  /** What is given has changed. */
  update(): void
  ready(): Promise<Health>
  /** Of all of them, those that ended included. */
  dump(): Promise<MetricsDump>
  /** Resolves when all have drained, after `ms` at the latest. */
  drain(ms: number): Promise<void>
  /** Ends them at once, and the lease. Idempotent. */
  close(): Promise<void>
}

interface Running<Given> {
  readonly id: number
  readonly worker: Worker
  readonly port: Port<WorkerCalls<Given>>
  /** It listens to what is sent to it. */
  readonly here: Promise<void>
  readonly exited: Promise<void>
  /** It knows of the others, and hears what is new of them. */
  told: boolean
  /** When it last asked or answered: a worker renews the lease every few seconds. */
  heard: number
  serving: boolean
  /** As of the last scrape: what it counted is not lost with it. */
  dump: MetricsDump
}

/** Milliseconds that a worker gets to answer a scrape; after it the others are shown alone. */
const ANSWER = 1000
/** A worker that ended sooner than this after its start did not do well. */
const DID_WELL = 10_000
/** Milliseconds beyond its time to drain that a worker gets to end. */
const LAST_WORDS = 5000

export function createWorkers<Given>(deps: WorkersDeps<Given>): Workers {
  const { clock, random, log, metrics } = deps
  const bootId = random.bytes(12).toString('base64url')
  const roster = createRoster()
  const table = createSharedTable({ presence: deps.presence, clock, log })
  const stopping = new AbortController()
  const half = LIMITS.policyPoll.value / 2
  const policy = shared(clock, half, () => deps.policy.policy(stopping.signal))
  const freshness = shared(clock, half, () => deps.policy.freshness(stopping.signal))
  const running = new Map<number, Running<Given>>()
  let ended: MetricsDump = []
  let restarts = 0
  let draining = false

  const forget = metrics.collect((set) => {
    set('postern_proxy_workers', [...running.values()].filter((one) => one.serving).length)
    set('postern_proxy_worker_restarts_total', restarts)
  })

  function pass(news: News): void {
    for (const { id, port, told } of running.values())
      if (told && id !== news.worker) port.call('news', news).catch(() => undefined)
  }

  const answersTo = (id: number, here: () => void): PrimaryCalls => ({
    ...table.of(id),
    here,
    policy,
    freshness,
    policyTaken: (taken) => deps.onPolicy(taken),
    changed: (opened, closed) => pass(roster.changed(id, opened, closed)),
  })

  function fork(): Running<Given> {
    const worker = cluster.fork()
    const { id } = worker
    let here: () => void = () => undefined
    const one: Running<Given> = {
      id,
      worker,
      port: createPort<WorkerCalls<Given>, PrimaryCalls>({
        send: (message) => void (worker.isConnected() && worker.send(message)),
        ours: answersTo(id, () => here()),
      }),
      here: new Promise((resolve) => (here = resolve)),
      exited: new Promise((resolve) => worker.once('exit', () => resolve())),
      told: false,
      heard: clock.monotonic(),
      serving: false,
      dump: [],
    }
    running.set(id, one)
    worker.on('message', (message: unknown) => {
      one.heard = clock.monotonic()
      one.port.receive(message)
    })
    // A channel that breaks is told by the exit that follows.
    worker.on('error', () => undefined)
    worker.once('exit', (code, signal) => {
      running.delete(id)
      one.serving = false
      one.port.end()
      ended = counted(together([ended, one.dump]))
      rmSync(socketOf(id), { force: true })
      pass(roster.left(id))
      void table.left(id)
      const told = { worker: id, code, signal: signal || undefined }
      if (draining || stopping.signal.aborted) log.info('proxy.worker_ended', told)
      else log.error('proxy.worker_ended', told)
    })
    return one
  }
  const socketOf = (id: number): string => path.join(deps.dir, `${id}.sock`)

  /** Resolves with the port when it serves; rejects when it cannot, and it has ended by then. */
  async function begin(): Promise<{ readonly one: Running<Given>; readonly port: number }> {
    const one = fork()
    const { id, worker } = one
    try {
      await Promise.race([one.here, one.exited])
      if (!running.has(id)) throw new AppError('ERR_INTERNAL', 'a worker ended at its start')
      // In one turn, so that nothing falls between the list and the first news.
      const others = roster.all()
      pass(roster.joined(id, socketOf(id)))
      one.told = true
      const port = await one.port.call('start', {
        worker: id,
        of: deps.count,
        bootId,
        path: socketOf(id),
        others,
        given: deps.given(),
      })
      one.serving = true
      log.info('proxy.worker_serving', { worker: id, pid: worker.process.pid })
      return { one, port }
    } catch (e) {
      worker.process.kill('SIGKILL')
      await one.exited
      throw e
    }
  }

  /** Keeps one place filled: whoever ends is followed by another. */
  async function keep(first: Running<Given>): Promise<void> {
    let pause = 0
    let began = clock.monotonic()
    for (let one: Running<Given> | undefined = first; !over();) {
      await one?.exited
      if (over()) return
      const lived = one ? clock.monotonic() - began : 0
      pause = lived > DID_WELL ? 0 : Math.min(LIMITS.backoffMax.value, pause * 2 || half)
      if (lived <= DID_WELL) await sleep(clock, pause, stopping.signal).catch(() => undefined)
      if (over()) return
      restarts += 1
      began = clock.monotonic()
      one = await begin().then(
        (begun) => begun.one,
        (e: unknown) => void log.error('proxy.worker_not_started', { reason: reasonOf(e) }),
      )
    }
  }
  const over = (): boolean => draining || stopping.signal.aborted

  const watch = clock.every(LIMITS.leaseRenew.value, () => {
    for (const { id, worker, heard, serving } of running.values()) {
      if (!serving || clock.monotonic() - heard < LIMITS.deadAfter.value) continue
      log.error('proxy.worker_silent', { worker: id })
      worker.process.kill('SIGKILL')
    }
  })

  /** Answers of those that answer in time. */
  async function ask<T>(question: (one: Running<Given>) => Promise<T>): Promise<T[]> {
    const asked = [...running.values()].map((one) => within(clock, ANSWER, question(one)))
    const settled = await Promise.allSettled(asked)
    return settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  }

  async function close(): Promise<void> {
    if (stopping.signal.aborted) return
    stopping.abort(new AppError('ERR_TUNNEL_CLOSED'))
    watch.cancel()
    forget()
    const all = [...running.values()]
    for (const { worker } of all) worker.process.kill('SIGKILL')
    await Promise.all(all.map((one) => one.exited))
    await table.end()
  }

  return {
    async start() {
      cluster.setupPrimary({
        exec: deps.program.exec,
        args: [...deps.program.args],
        serialization: 'advanced',
      })
      // Every worker accepts for itself. Handed out by this process, a connection that goes to a worker which has just died is lost with
      // nobody to say so: its peer waits for the end of its patience.
      cluster.schedulingPolicy = cluster.SCHED_NONE
      const begun = await Promise.all(Array.from({ length: deps.count }, begin))
      for (const { one } of begun) void keep(one)
      return begun[0]?.port ?? 0
    },
    update() {
      const given = deps.given()
      for (const { port } of running.values()) port.call('update', given).catch(() => undefined)
    },
    async ready() {
      const answers = await ask(({ port }) => port.call('ready'))
      const ready = answers.filter(({ ok }) => ok).length
      const state = draining ? 'draining' : answers.find(({ ok }) => ok)?.facts['state']
      return {
        ok: ready > 0 && !draining,
        facts: {
          state: state ?? answers[0]?.facts['state'] ?? 'starting',
          workers: deps.count,
          ready,
        },
      }
    },
    async dump() {
      await ask(async (one) => (one.dump = await one.port.call('dump')))
      return together([metrics.dump(), ended, ...[...running.values()].map(({ dump }) => dump)])
    },
    async drain(ms) {
      draining = true
      await Promise.all(
        [...running.values()].map(({ port, exited }) =>
          within(clock, ms + LAST_WORDS, Promise.race([port.call('drain', ms), exited])).catch(
            (e: unknown) => log.warn('proxy.worker_not_drained', { reason: reasonOf(e) }),
          ),
        ),
      )
      await close()
    },
    close,
  }
}
