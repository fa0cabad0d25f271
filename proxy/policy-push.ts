/**
 * Sends the signed policy and the freshness stamp down every agent tunnel: one `policy` stream for each signed object, which is
 * its only content; the JWS's `typ` says which it is. Per tunnel one at a time and always the newest, so that a slow agent
 * holds up nobody and queues nothing. Each names how many proxies there are; when these become more, the last stamp is sent
 * again, or an agent with one tunnel would learn of a second proxy with the next stamp and not before.
 */
import type { Clock } from '../core/clock.ts'
import { AppError, reasonOf, toAppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import { encodeOpen } from '../core/tunnel/open.ts'
import type { TunnelStream } from '../core/tunnel/stream.ts'
import type { ProxyCounters } from './counters.ts'
import type { AgentTunnel } from './tunnels.ts'

export interface PolicyPushDeps {
  /** What there is to send; undefined before the first was fetched. */
  policy(): { readonly version: number; readonly jws: Buffer } | undefined
  freshness(): Buffer | undefined
  liveProxies(): number
  readonly clock: Clock
  readonly counters: ProxyCounters
  readonly log: Log
}

export interface PolicyPush {
  /** Brings one agent up to date. Call it for a new tunnel, and for every tunnel when something new arrived. */
  bring(tunnel: AgentTunnel): void
  bringAll(tunnels: Iterable<AgentTunnel>): void
}

interface Sent {
  version: number
  freshness: Buffer | undefined
  /** The most proxies that were named. */
  proxies: number
  busy: boolean
}

/** Tunnels served before the event loop gets its turn: a stream costs some 50 µs to open. */
const PER_TURN = 64

export function createPolicyPush(deps: PolicyPushDeps): PolicyPush {
  const { clock, counters, log } = deps
  const sent = new WeakMap<AgentTunnel, Sent>()

  async function send(
    tunnel: AgentTunnel,
    { jws, hint, proxies }: NonNullable<ReturnType<typeof next>>,
  ): Promise<void> {
    const stream = await tunnel.session.open(encodeOpen({ v: 1, kind: 'policy', hint, proxies }))
    counters.policyPushes += 1
    await deliver(stream, jws, clock)
  }

  /** The newest that this agent has not been sent; marks it as sent, because the agent decides what it makes of it. */
  function next(
    state: Sent,
  ): { jws: Buffer; hint: number | undefined; proxies: number } | undefined {
    const policy = deps.policy()
    const proxies = deps.liveProxies()
    if (policy && policy.version > state.version) {
      state.version = policy.version
      state.proxies = Math.max(state.proxies, proxies)
      return { jws: policy.jws, hint: policy.version, proxies }
    }
    const fresh = deps.freshness()
    if (!fresh || (fresh === state.freshness && proxies <= state.proxies)) return undefined
    state.freshness = fresh
    state.proxies = Math.max(state.proxies, proxies)
    return { jws: fresh, hint: undefined, proxies }
  }

  async function run(tunnel: AgentTunnel, state: Sent): Promise<void> {
    for (let what = next(state); what; what = next(state)) {
      const before = state.version
      try {
        await send(tunnel, what)
      } catch (e) {
        if (tunnel.session.closed) break
        const error = toAppError(e)
        counters.policyFailures += 1
        log.warn('proxy.policy_not_taken', {
          agent: tunnel.identity.agentId,
          service: tunnel.identity.service,
          reason: reasonOf(error),
        })
        // Not taken in time: sent again with the next stamp. Refused: the agent has it, or wants none.
        if (error.code === 'ERR_TIMEOUT' && what.hint === before) state.version = before - 1
        if (error.code === 'ERR_TIMEOUT') break
      }
    }
    // In the same turn as the last look at what there is, so that nothing can come in between and be missed.
    state.busy = false
  }

  function bring(tunnel: AgentTunnel): void {
    const state = sent.get(tunnel) ?? {
      version: -1,
      freshness: undefined,
      proxies: 0,
      busy: false,
    }
    sent.set(tunnel, state)
    if (state.busy || tunnel.session.closed || tunnel.session.goingAway) return
    state.busy = true
    void run(tunnel, state)
  }

  return {
    bring,
    bringAll(tunnels) {
      const queue = [...tunnels]
      const turn = (): void => {
        for (const tunnel of queue.splice(0, PER_TURN)) bring(tunnel)
        if (queue.length > 0) setImmediate(turn)
      }
      turn()
    },
  }
}

/** Writes `bytes` and the end; resolves when the peer ended too. An agent that does not read is given up, not waited for. */
function deliver(stream: TunnelStream, bytes: Buffer, clock: Clock): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(LIMITS.openTimeout.value, () => {
      stream.reset('ERR_TIMEOUT', 'the policy was not read in time')
      reject(new AppError('ERR_TIMEOUT'))
    })
    stream.ondata = (ignored) => stream.consumed(ignored.length)
    stream.onclose = (err) => {
      timer.cancel()
      if (err) reject(err)
      else resolve()
    }
    stream.start()
    stream.write(bytes)
    stream.end()
  })
}
