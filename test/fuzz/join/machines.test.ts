/**
 * Evidence of machines from anybody: structures of a TPM, attested documents of Azure, answers of a Kubernetes cluster. Whatever the
 * bytes are, the answer is a refusal; a parser that stumbled would end the join function for everybody (CVE-2026-40097).
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { AppError } from '../../../core/errors.ts'
import { instant } from '../../../core/clock.ts'
import { verifyAttested } from '../../../core/join/azure/attested.ts'
import { vmResource } from '../../../core/join/azure/resource-id.ts'
import { bindingOf, type JoinKeys } from '../../../core/join/binding.ts'
import { readReview } from '../../../core/join/oidc/review.ts'
import { certifyFlaw, readAttestationKey, weakness } from '../../../core/join/tpm/attestation.ts'
import { tpmMethod, type TpmQuestion } from '../../../core/join/tpm/method.ts'
import { systemRandom } from '../../../core/random.ts'
import { foreignCa, foreignKey } from '../../support/foreign-ca.ts'
import { fuzzRuns, fuzzTimeout } from '../../support/fuzz.ts'
import { softwareTpm } from '../../support/software-tpm.ts'
import { signAttested } from '../../fakes/azure.ts'

const keys = { enrolment: 'e', serviceKey: 's' } as unknown as JoinKeys
const tpm = softwareTpm('ecc')
const opened = tpmMethod({ random: systemRandom }).open?.(tpm.opening())
const evidence = tpm.evidence('challenge', opened?.question as TpmQuestion, keys)
const bytes = (text: string): Buffer => Buffer.from(text, 'base64url')
const binding = bindingOf('tpm', 'challenge', keys)

const now = instant(Date.now())
const ca = foreignCa('CA', now)
const key = foreignKey()
const dns = ['metadata.azure.com']
const certificate = ca.issue({ subject: 'x', publicKey: key.publicKey, dns })
const document = Buffer.from(signAttested('{"nonce":"n"}', { key, certificate }), 'base64')

/** What became of it: a value, or the code of a refusal. Anything else that is thrown fails the test. */
function outcome<T>(work: () => T): T | string {
  try {
    return work()
  } catch (e) {
    if (e instanceof AppError) return e.code
    throw e
  }
}
const changed = (good: Buffer) =>
  fc
    .tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), fc.nat(good.length))
    .map(([at, by, length]) => {
      const copy = Buffer.from(good)
      copy[at] = (copy[at] ?? 0) ^ by
      return length % 2 === 0 ? copy : copy.subarray(0, length)
    })
const anything = fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.from(b))
const runs = { numRuns: fuzzRuns }

test('the honest ones hold', () => {
  const ak = readAttestationKey(bytes(evidence.ak_public))
  const signed = { attest: bytes(evidence.attest), signature: bytes(evidence.signature) }
  expect([weakness(ak), certifyFlaw(ak, signed, binding)]).toEqual([undefined, undefined])
})

test(
  'CVE-2026-40097 (step-ca): an attestation with anything changed is none',
  () => {
    const ak = readAttestationKey(bytes(evidence.ak_public))
    const [attest, signature] = [bytes(evidence.attest), bytes(evidence.signature)]
    const check = (given: { attest: Buffer; signature: Buffer }): void => {
      expect(outcome(() => certifyFlaw(ak, given, binding))).toEqual(expect.any(String))
    }
    fc.assert(
      fc.property(fc.oneof(changed(attest), anything), (other) =>
        check({ attest: other, signature }),
      ),
      runs,
    )
    fc.assert(
      fc.property(fc.oneof(changed(signature), anything), (other) =>
        check({ attest, signature: other }),
      ),
      runs,
    )
  },
  fuzzTimeout,
)

test(
  'any bytes for a public area, and any wish for a challenge',
  () => {
    const area = bytes(evidence.ak_public)
    fc.assert(
      fc.property(fc.oneof(changed(area), anything), (given) => {
        outcome(() => readAttestationKey(given))
      }),
      runs,
    )
    const method = tpmMethod({ random: systemRandom })
    const { ek_public, ak_public } = tpm.opening()
    const text = fc.oneof(changed(bytes(ek_public)), anything).map((b) => b.toString('base64url'))
    fc.assert(
      fc.property(
        fc.oneof(fc.anything(), fc.record({ ek_public: text, ak_public: fc.constant(ak_public) })),
        (given) => {
          outcome(() => method.open?.(given))
        },
      ),
      runs,
    )
  },
  fuzzTimeout,
)

test(
  'an attested document with anything changed',
  () => {
    const trust = { keys: [], cas: [ca.pem] }
    fc.assert(
      fc.property(fc.oneof(changed(document), anything), (given) => {
        expect(outcome(() => verifyAttested(given, trust, 'n', now))).toBe('ERR_JOIN_REFUSED')
      }),
      runs,
    )
  },
  fuzzTimeout,
)

test('whatever a cluster answers', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        anything,
        fc.json().map((text) => Buffer.from(text)),
      ),
      (given) => {
        expect(outcome(() => readReview(given, 'a'))).toBe('ERR_JOIN_REFUSED')
      },
    ),
    runs,
  )
})

test('the name of a machine becomes one path, or none', () => {
  const part = fc.string({ unit: fc.constantFrom('a', '/', '.', '%', '?', '#', '-', '\\', ' ') })
  const subscription = '8d10da13-8125-4ba9-a717-bf7490507b3d'
  fc.assert(
    fc.property(part, part, (group, name) => {
      const id = `/subscriptions/${subscription}/resourceGroups/${group}/providers/Microsoft.Compute/virtualMachines/${name}`
      const found = vmResource(id)
      if (!found) return
      const url = new URL(`https://management.azure.com${found.path}`)
      expect(url.pathname.split('/')).toHaveLength(9)
      expect(url.search + url.hash).toBe('')
    }),
    runs,
  )
})
