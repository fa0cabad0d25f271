/**
 * What every join method promises. A method's suite gives one piece of evidence that holds and a list of ways to break it, each
 * in one named place; the contract is that the first becomes facts and every other is refused without a word to the caller.
 */
import { describe, expect, test } from 'vitest'
import { AppError } from '../../../core/errors.ts'
import type { Challenge } from '../../../core/join/challenge.ts'
import type { JoinContext } from '../../../core/join/join-method.ts'
import type { JoinKeys } from '../../../core/join/binding.ts'
import { joinMethods, type MethodDeps } from '../../../core/join/methods.ts'
import type { JoinToken } from '../../../core/domain/token.ts'
import { LIMITS } from '../../../core/limits.ts'
import { fromSeconds, instant } from '../../../core/clock.ts'
import { generateKey, thumbprint } from '../../../core/certs/signer.ts'
import { fuzzEvidence } from '../../support/evidence-fuzz.ts'
import { boundedTimeout } from '../../support/fuzz-bounds.ts'

export interface MethodCase {
  readonly name: string
  /** How many changed pieces of evidence it is shown; fewer for methods that share one engine. */
  readonly fuzzed?: number
  readonly setup: (
    sealed: string,
    keys: JoinKeys,
  ) => {
    /** Handle of the token that the challenge was made for. */
    readonly token: string
    readonly evidence: object
    readonly broken: Readonly<Record<string, unknown>>
    /** For methods whose tokens are found by name. */
    readonly joinToken?: JoinToken
    readonly deps?: Partial<MethodDeps>
    /** What the method keeps in the challenge. */
    readonly kept?: string
  }
}
/** What the challenge looks like to the machine. */
export const SEALED = 'a-sealed-challenge_0123456789'

export const now = instant(1_800_000_000_000)

export const CLUSTER = 'test.internal'

export function joinMethodContract({ name, setup, fuzzed = 20_000 }: MethodCase): void {
  describe(`join method ${name}`, () => {
    const keys = {
      enrolment: thumbprint(generateKey().publicKey),
      serviceKey: thumbprint(generateKey().publicKey),
    }
    const { token, evidence, broken, joinToken, deps, kept } = setup(SEALED, keys)
    const challenge: Challenge = {
      method: name as Challenge['method'],
      token,
      service: 'ssh',
      ...keys,
      kept,
      expires: fromSeconds(1_800_000_060),
    }
    const context: JoinContext = {
      challenge,
      sealed: SEALED,
      cluster: CLUSTER,
      token: joinToken,
      now,
    }
    const unused = {} as MethodDeps
    const method = joinMethods({ ...unused, issuerKeys: { of: async () => [] }, ...deps })(name)
    const refusal = async (given: unknown): Promise<AppError> => {
      const error: unknown = await method.verify(given, context).then(
        () => undefined,
        (e: unknown) => e,
      )
      expect(error).toBeInstanceOf(AppError)
      return error as AppError
    }

    test('turns evidence that holds into facts without a secret in them', async () => {
      const facts = await method.verify(evidence, context)
      expect(facts.subject.length).toBeGreaterThan(0)
      for (const value of Object.values(evidence))
        if (typeof value === 'string') {
          expect(facts.subject).not.toContain(value)
          expect(Object.values(facts.attributes)).not.toContain(value)
        }
    })
    test('gives the same facts for the same evidence', async () => {
      expect(await method.verify(evidence, context)).toEqual(await method.verify(evidence, context))
    })
    test.each([
      ...Object.entries(broken),
      ['nothing', undefined],
      ['null', null],
      ['a text', 'x'],
      ['a list', []],
      ['an empty object', {}],
      ['an unknown field', { ...evidence, unknown: 1 }],
      ['a huge field', { ...evidence, ...hugeOf(evidence) }],
    ])('refuses %s, and says why only inside', async (_, given) => {
      const error = await refusal(given)
      expect(error.code).toBe('ERR_JOIN_REFUSED')
      expect(error.internal).toBeTruthy()
      expect(error.message).toBe('The join was refused')
    })
    test(
      'takes or refuses evidence with anything changed, in a bounded time and memory',
      { timeout: boundedTimeout },
      () => fuzzEvidence(method, evidence, context, fuzzed),
    )
  })
}

const hugeOf = (evidence: object): object =>
  Object.fromEntries(
    Object.keys(evidence).map((key) => [key, 'x'.repeat(LIMITS.joinEvidence.value)]),
  )
