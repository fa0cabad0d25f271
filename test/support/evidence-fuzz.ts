/** Evidence of a join with something changed, as text of the request and inside each of its fields: facts or a refusal, within bounds. */
import { expect } from 'vitest'
import { isAppError } from '../../core/errors.ts'
import type { JoinContext } from '../../core/join/join-method.ts'
import type { EvidenceVerifier } from '../../core/join/methods.ts'
import { parseJson } from '../../core/strict-json.ts'
import { bounded, mutate, type Chance } from './fuzz-bounds.ts'

const CODED = /^[A-Za-z0-9+/_-]{16,}={0,2}$/

/** What stands behind base64 is changed there, so that it comes past the alphabet; the parts of a JWT each for themselves. */
function changedText(text: string, c: Chance): string {
  const parts = text.split('.')
  const at = c.below(parts.length)
  const part = parts[at] ?? ''
  if (!CODED.test(part) || c.below(4) === 0) return mutate(Buffer.from(text), c).toString()
  const coding = /[+/=]/.test(part) ? 'base64' : 'base64url'
  parts[at] = mutate(Buffer.from(part, coding), c).toString(coding)
  return parts.join('.')
}

function changedField(value: unknown, c: Chance): unknown {
  if (typeof value === 'string') return changedText(value, c)
  if (Array.isArray(value)) {
    const at = c.below(value.length + 1)
    return value.map((one: unknown, i) => (i === at ? changedField(one, c) : one))
  }
  return c.pick<unknown>([null, 0, '', [], {}, true])
}

/** The bytes of a request's evidence. */
function changed(evidence: object, c: Chance): Buffer {
  const fields = Object.entries(evidence)
  const [key = ''] = c.pick(fields)
  const bent = Object.fromEntries(
    fields.map(([name, value]) => [name, name === key ? changedField(value, c) : value]),
  )
  const text = Buffer.from(JSON.stringify(bent))
  return c.below(3) === 0 ? mutate(text, c) : text
}

export function fuzzEvidence(
  method: EvidenceVerifier,
  evidence: object,
  context: JoinContext,
  few: number,
): Promise<void> {
  return bounded(
    (c) => changed(evidence, c),
    async (input) => {
      try {
        const facts = await method.verify(parseJson(input), context)
        expect(facts.subject.length).toBeGreaterThan(0)
      } catch (e) {
        expect(isAppError(e) && e.code !== 'ERR_INTERNAL', String(e)).toBe(true)
      }
    },
    { few },
  )
}
