/**
 * Asks the control plane for the policy when nobody pushed it: at the start, when a stamp names a version we lack, and after two
 * minutes without a fresh word. A push through the tunnel makes these calls rare.
 */
import { freshnessAnswer, policyAnswer } from '../../core/api/policy.ts'
import { sleep, type Clock } from '../../core/clock.ts'
import { isAppError, reasonOf } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Log } from '../../core/log.ts'
import { parse } from '../../core/parse.ts'
import type { Random } from '../../core/random.ts'
import type { ApiClient } from '../../net/http-client.ts'
import { backoff } from '../retry.ts'
import type { PolicyKeeper } from './keeper.ts'

export interface PolicyRefreshOptions {
  readonly keeper: PolicyKeeper
  /** A client that signs as any service of this agent; undefined while none has joined. */
  api(): Pick<ApiClient, 'request'> | undefined
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly signal: AbortSignal
}

export interface PolicyRefresh {
  /** Ask now. Rejects with what the call failed with; does nothing before any service has joined. */
  now(): Promise<void>
  /**
   * For a decision that says no although the control plane has just signed a route: a role given a moment ago may not have
   * arrived yet. Asks the control plane, at most once in LIMITS.policyDoubt: whoever comes sooner waits for that. Never rejects.
   */
  doubt(): Promise<void>
  /** Tokens from a proxy. Never rejects: a proxy is not trusted, what it sends is checked and otherwise logged. */
  pushed(tokens: readonly string[]): Promise<void>
  /** Runs until the signal aborts. */
  run(): Promise<void>
}

export function createPolicyRefresh(options: PolicyRefreshOptions): PolicyRefresh {
  const { keeper, clock, random, log, signal } = options
  const shape = { code: 'ERR_INTERNAL' } as const
  let asking: Promise<void> | undefined
  let doubted = Number.NEGATIVE_INFINITY
  let doubting: Promise<void> | undefined

  async function ask(): Promise<void> {
    const api = options.api()
    if (!api) return
    if (keeper.version > 0) {
      const answer = await api.request('GET', '/v1/policy/freshness', undefined, { signal })
      const { freshness } = parse(freshnessAnswer, answer, shape)
      if ((await take(freshness)) !== 'newer') return
    }
    const answer = await api.request('GET', '/v1/policy', undefined, { signal })
    const { policy, freshness, links } = parse(policyAnswer, answer, shape)
    await keeper.take(policy, links)
    await keeper.take(freshness)
  }

  /** A stamp that no known key signed may be of the next key: the document comes with the links that lead to it. */
  const take = (token: string): ReturnType<PolicyKeeper['take']> =>
    keeper.take(token).catch((e: unknown) => {
      if (isAppError(e) && e.code === 'ERR_PROOF_INVALID') return 'newer'
      throw e
    })

  const now = (): Promise<void> =>
    (asking ??= ask().finally(() => {
      asking = undefined
    }))

  async function clear(): Promise<void> {
    const wait = LIMITS.policyDoubt.value
    const quiet = (ms: number) => sleep(clock, ms, signal).catch(() => undefined)
    const since = clock.monotonic() - doubted
    if (since < wait) await quiet(wait - since)
    doubted = clock.monotonic()
    const failed = (e: unknown): void => log.warn('policy.not_refreshed', { reason: reasonOf(e) })
    await Promise.race([now().catch(failed), quiet(wait)])
  }

  // Those who come while one doubt is being cleared wait for the same answer.
  const doubt = (): Promise<void> =>
    (doubting ??= clear().finally(() => {
      doubting = undefined
    }))

  return {
    now,

    doubt,

    async pushed(tokens) {
      try {
        let behind = false
        for (const token of tokens) behind = (await keeper.take(token)) === 'newer' || behind
        if (behind) await now()
      } catch (e) {
        if (signal.aborted) return
        log.warn('policy.push_refused', { reason: reasonOf(e) })
        // The policy key may have changed while this agent was away; asked no more often than a doubt may be.
        void doubt()
      }
    },

    async run() {
      const poll = LIMITS.policyPollAgent.value
      let failures = 0
      while (!signal.aborted) {
        try {
          if (keeper.age() >= poll) await now()
          failures = 0
        } catch (e) {
          if (signal.aborted) return
          failures += 1
          log.warn('policy.not_refreshed', { reason: reasonOf(e) })
        }
        // A stamp that we are given is up to LIMITS.policyFreshness old, half of `poll`: looking more often does not ask more often.
        const pause = failures > 0 ? backoff(failures, random) : (poll / 8) * (1 + random.float())
        await sleep(clock, pause, signal).catch(() => undefined)
      }
    },
  }
}
