/** Which CAs an agent comes to believe: what the policy key signed, forward only, and nothing that the network says by itself. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createPolicyKeeper } from '../../../agent/policy/keeper.ts'
import { standingOf } from '../../../agent/policy/trusted-cas.ts'
import { CAS_TYP } from '../../../core/api/cas.ts'
import { jwsSign } from '../../../core/certs/jws.ts'
import { signLink } from '../../../core/certs/policy-key-link.ts'
import { generateKey, keySigner, thumbprint, type Signer } from '../../../core/certs/signer.ts'
import { toPem } from '../../../core/certs/x509-read.ts'
import { seconds } from '../../../core/clock.ts'
import { parseId } from '../../../core/ids.ts'
import { LIMITS } from '../../../core/limits.ts'
import { systemRandom } from '../../../core/random.ts'
import { handClock } from '../../support/clock.ts'
import { agentLeaf, CLUSTER, makeCa, type Ca, type Leaf } from '../../support/pki.ts'
import { recordingLog } from '../../support/recording-log.ts'

const clock = handClock()
const root = mkdtempSync(join(tmpdir(), 'postern-cas-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const agentId = parseId('agent', 'ag_01jd00000000000000000000aa') as NonNullable<
  ReturnType<typeof parseId<'agent'>>
>

let oldCa: Ca
let newCa: Ca
let leaf: Leaf
const policy = keySigner(generateKey().privateKey)
const next = keySigner(generateKey().privateKey)
const jwkOf = (signer: Signer) => ({
  ...(signer.publicKey.export({ format: 'jwk' }) as { kty: string }),
  kid: thumbprint(signer.publicKey),
})
beforeAll(async () => {
  oldCa = await makeCa('host CA', 'ES256', clock.now())
  newCa = await makeCa('host CA', 'ES256', clock.now())
  leaf = await agentLeaf(oldCa, 'ES256', clock.now())
})

let dataDir = ''
let keeper: ReturnType<typeof createPolicyKeeper>
const open = () => createPolicyKeeper({ dataDir, clock, random: systemRandom, log: recordingLog() })
beforeEach(async () => {
  dataDir = mkdtempSync(join(root, 'd'))
  keeper = open()
  await keeper.anchor({ cluster: CLUSTER, agentId, keys: [jwkOf(policy)] })
})

const list = (
  cas: readonly Ca[],
  version: number,
  change: object = {},
  by: Signer = policy,
  keys: readonly Signer[] = [by],
) =>
  jwsSign(
    by,
    { typ: CAS_TYP },
    {
      cluster: CLUSTER,
      version,
      issued: seconds(clock.now()),
      expires: seconds(clock.now()) + 3600,
      cas: {
        host: { x509: cas.map((ca) => toPem(ca.certificate.raw)), ssh: [] },
        user: { x509: [toPem(newCa.certificate.raw)], ssh: [] },
        policy: keys.map(jwkOf),
      },
      retired: [],
      ...change,
    },
  )
const take = async (jws: Promise<string>, links: readonly string[] = []) =>
  keeper.takeCas({ jws: await jws, links })

describe('the list of CAs', () => {
  test('is believed when the policy key signed it, and says what an identity is worth', async () => {
    expect(standingOf(leaf.certificate, keeper.cas)).toBe('good')
    await take(list([oldCa, newCa], 2))
    expect(standingOf(leaf.certificate, keeper.cas)).toBe('good')
    await take(list([newCa, oldCa], 3))
    expect(standingOf(leaf.certificate, keeper.cas)).toBe('other')
    await take(list([newCa], 4))
    expect(standingOf(leaf.certificate, keeper.cas)).toBe('worthless')
  })

  // Each of these would make an agent believe a CA of somebody else's, or one that was given up.
  test.each<[string, () => Promise<string>]>([
    ['signed by another key', () => list([newCa], 9, {}, next)],
    ['of another cluster', () => list([newCa], 9, { cluster: 'another' })],
    ['that has run out', () => list([newCa], 9, { expires: seconds(clock.now()) })],
    ['with fewer changes than are known', () => list([newCa], 1)],
    ['of another purpose', () => jwsSign(policy, { typ: 'postern-fresh+jws' }, {})],
    ['without a host CA', () => list([], 9)],
  ])('%s is refused and changes nothing', async (_why, made) => {
    await take(list([oldCa], 2))
    await expect(take(made())).rejects.toMatchObject({ code: 'ERR_PROOF_INVALID' })
    expect(standingOf(leaf.certificate, keeper.cas)).toBe('good')
  })

  test('of the next policy key is believed by the link that the known one signed', async () => {
    const link = await signLink(policy, { cluster: CLUSTER, to: jwkOf(next), issued: 1 })
    await expect(take(list([newCa], 5, {}, next))).rejects.toThrow()
    await take(list([newCa], 5, {}, next), [link])
    expect(keeper.keys()).toHaveLength(1)
    // The old key vouches for nothing any more.
    await expect(take(list([oldCa], 6))).rejects.toMatchObject({ code: 'ERR_PROOF_INVALID' })
  })

  test('is kept over a restart, and not taken back by an older one after it', async () => {
    await take(list([newCa], 5, { retired: ['sha256:old'] }))
    await keeper.saved()
    keeper = open()
    await keeper.load()
    expect(keeper.cas?.retired).toEqual(['sha256:old'])
    expect(standingOf(leaf.certificate, keeper.cas)).toBe('worthless')
    await expect(take(list([oldCa], 4))).rejects.toMatchObject({ code: 'ERR_PROOF_INVALID' })
  })

  test('more links than the limit are cut from the front, and none of them ends the process', async () => {
    const junk = Array.from({ length: LIMITS.policyKeyLinks.value + 5 }, () => 'a.b.c')
    await expect(take(list([newCa], 5, {}, next), junk)).rejects.toThrow()
  })
})
