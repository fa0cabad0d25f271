/** CA rotation at the control plane: which key signs and which are trusted in each phase, and who refuses what. */
import { createPublicKey } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CAS_TYP, signedCas } from '../../core/api/cas.ts'
import { credentials } from '../../core/api/join.ts'
import { FRESHNESS_TYP, POLICY_TYP } from '../../core/api/policy.ts'
import { jwsVerify } from '../../core/certs/jws.ts'
import { walkLinks } from '../../core/certs/policy-key-link.ts'
import { caPin, generateKey, keySigner } from '../../core/certs/signer.ts'
import { parseSshCertificate } from '../../core/certs/ssh-certificate.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { verifyLeaf } from '../../core/certs/x509-verify.ts'
import { caBundle } from '../../core/domain/cluster.ts'
import type { Policy } from '../../core/domain/policy.ts'
import { LIMITS } from '../../core/limits.ts'
import { joined, mint, tryJoin, tryRenew, type Joined } from './support/machine.ts'
import { codeOf, itemsOf, openWorld, type Signatory, type World } from './support/world.ts'

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

const HOUR = 3_600_000
const rotate = (kind: string, body: object = {}) => world.op('POST', `/v1/cas/${kind}/rotate`, body)
const rollback = (kind: string) => world.op('POST', `/v1/cas/${kind}/rollback`, {})
const pass = (ms: number) => {
  world.clock.advance(ms)
}
/** By hand, with the shortest phases that are allowed. */
async function phase(kind: string, ...phases: string[]): Promise<void> {
  for (const one of phases) {
    pass(LIMITS.caPhaseMin.value)
    const answer = await rotate(kind, { phase: one, force: one === 'standby' })
    expect([answer.status, answer.text]).toEqual([200, expect.any(String)])
  }
}
const cas = async () => caBundle.parse((await world.call('GET', '/v1/ca')).body)
const pins = async () => (await cas()).ca_pins
const signerOf = (certificate: Signatory['certificate'], of: readonly string[]) => {
  const issuer = of.findIndex((pem) => {
    try {
      verifyLeaf(certificate, {
        roots: [readCertificate(pem)],
        now: world.clock.now(),
        usage: 'client',
      })
      return true
    } catch {
      return false
    }
  })
  return issuer < 0 ? undefined : caPin(readCertificate(of[issuer] ?? '').publicKey)
}
const renewed = async (agent: Signatory, generation: number): Promise<Signatory> => {
  const key = generateKey()
  const answer = await tryRenew(world, agent, generation, key)
  const { x509 } = credentials.parse(answer.body)
  return { certificate: readCertificate(x509), signer: keySigner(key.privateKey) }
}
const policyKeys = (keys: readonly object[]) =>
  keys.map((key) => createPublicKey({ key: { ...key }, format: 'jwk' }))
const getPolicy = async (who: Signatory) => {
  const answer = (await world.as(who, 'GET', '/v1/policy')).body
  return answer as { policy: string; freshness: string; links?: string[] }
}
const agent = async (node = 'web-1'): Promise<Joined> =>
  joined(world, { secret: await mint(world), node })

describe('the host CA', () => {
  test('by hand: trusted by everybody before it signs, signing before the old one goes', async () => {
    const [old = ''] = await pins()
    const before = await agent()
    await phase('host', 'init')
    const [first, coming = '', ...more] = await pins()
    expect([first, more]).toEqual([old, []])
    const oldCa = (await cas()).host.x509
    expect(signerOf((await agent('web-2')).certificate, oldCa)).toBe(old)
    await phase('host', 'update_clients')
    expect(signerOf((await agent('web-3')).certificate, oldCa)).toBe(old)
    await phase('host', 'update_servers')
    expect(await pins()).toEqual([coming, old])
    const next = await renewed(before, 1)
    const both = (await cas()).host.x509
    expect(signerOf(next.certificate, both)).toBe(coming)
    // Old and new certificates work side by side.
    for (const who of [before, next])
      expect((await world.as(who, 'GET', '/v1/policy/freshness')).status).toBe(200)
    await phase('host', 'standby')
    expect(await pins()).toEqual([coming])
    expect((await world.as(next, 'GET', '/v1/policy/freshness')).status).toBe(200)
    expect(codeOf(await world.as(before, 'GET', '/v1/policy/freshness'))).toBe('ERR_PROOF_INVALID')
  })

  test('the SSH host certificate and the SSH CA line follow the same key', async () => {
    await phase('host', 'init', 'update_clients', 'update_servers')
    const { answer } = await agent()
    const { ssh_host: line = '', host_ca: ca } = credentials.parse(answer.body)
    const certificate = parseSshCertificate(Buffer.from(line.split(' ')[1] ?? '', 'base64'))
    expect(ca.ssh).toHaveLength(2)
    expect(ca.ssh[0]).toContain(certificate.ca.blob.toString('base64'))
  })

  test('a phase that is not the next, or comes too soon, is refused with what to do', async () => {
    expect(await rotate('host', { phase: 'update_servers' })).toMatchObject({ status: 400 })
    await phase('host', 'init')
    expect((await rotate('host', { phase: 'update_servers' })).text).toContain(
      'next is update_clients',
    )
    pass(LIMITS.caPhaseMin.value - 5000)
    const soon = await rotate('host', { phase: 'update_clients' })
    expect([codeOf(soon), soon.text]).toEqual([
      'ERR_CONFLICT',
      expect.stringContaining('began 25s ago'),
    ])
    expect((await rotate('host', { phase: 'update_clients', force: true })).status).toBe(200)
    expect(codeOf(await rotate('host'))).toBe('ERR_CONFLICT')
  })

  test('is not finished while an agent holds a certificate of the old key', async () => {
    const before = await agent()
    await phase('host', 'init', 'update_clients', 'update_servers')
    pass(LIMITS.caPhaseMin.value)
    const early = await rotate('host', { phase: 'standby' })
    expect([codeOf(early), early.text]).toEqual([
      'ERR_CONFLICT',
      expect.stringContaining('web-1/ssh'),
    ])
    await renewed(before, 1)
    expect((await rotate('host', { phase: 'standby' })).status).toBe(200)
  })

  test('rolls back from any phase, and what the new key signed is renewed by the old one', async () => {
    const [old = ''] = await pins()
    const one = await agent()
    for (const phases of [['init'], ['init', 'update_clients']]) {
      await phase('host', ...phases)
      // Nothing was signed by the new key: it is gone at once.
      expect((await rollback('host')).body).toMatchObject({ phase: 'standby' })
      expect(await pins()).toEqual([old])
    }
    await phase('host', 'init', 'update_clients', 'update_servers')
    const [coming = ''] = await pins()
    const two = await renewed(one, 1)
    expect((await rollback('host')).body).toMatchObject({ phase: 'rollback' })
    expect(await pins()).toEqual([old, coming])
    expect((await world.as(two, 'GET', '/v1/policy/freshness')).status).toBe(200)
    const three = await renewed(two, 2)
    expect(signerOf(three.certificate, (await cas()).host.x509)).toBe(old)
    pass(LIMITS.caPhaseMin.value)
    expect((await rotate('host', { phase: 'standby' })).body).toMatchObject({
      phase: 'standby',
      retired: [coming, expect.any(String), expect.any(String)],
    })
    expect(await pins()).toEqual([old])
    expect(codeOf(await rollback('host'))).toBe('ERR_CONFLICT')
  })

  test('by itself: the phases follow within the grace period, each in the audit log', async () => {
    const started = await rotate('host', { grace: '36h' })
    expect(started.body).toMatchObject({
      phase: 'init',
      rotation: { mode: 'auto', grace: '1d12h' },
    })
    const [old, coming] = await pins()
    const seen: string[] = []
    for (let hour = 0; hour < 37; hour++) {
      pass(HOUR)
      await world.plane.tickRotations()
      const { items } = (await world.op('GET', '/v1/cas')).body as { items: { phase: string }[] }
      const now = items[0]?.phase ?? '?'
      if (seen.at(-1)?.endsWith(now) !== true) seen.push(`${hour + 1}h ${now}`)
    }
    expect(seen).toEqual(['1h init', '6h update_clients', '12h update_servers', '36h standby'])
    expect(await pins()).toEqual([coming])
    expect(old).not.toBe(coming)
    const events = itemsOf<{ actor: string; fields: { phase: string } }>(
      await world.op('GET', '/v1/events?type=ca.rotate'),
    )
    expect(events.map((e) => `${e.actor} ${e.fields.phase}`).reverse()).toEqual([
      'key/operator-root-owner init',
      'postern update_clients',
      'postern update_servers',
      'postern standby',
    ])
  })

  test('CVE-2026-42508 (x/crypto): a key that was retired vouches for nobody, at once with grace 0, and whoever had its certificate joins again', async () => {
    const before = await agent()
    const [old] = await pins()
    expect((await rotate('host', { grace: '0s' })).body).toMatchObject({
      phase: 'standby',
      retired: [old],
    })
    const refused = await tryRenew(world, before, 1)
    expect(codeOf(refused)).toBe('ERR_RENEWAL_REFUSED')
    // Its certificate has not run out, but it is worth nothing: the same agent takes its place again.
    const again = await joined(world, {
      secret: await mint(world),
      node: 'web-1',
      enrolment: before.enrolment,
    })
    expect(again.agentId).toBe(before.agentId)
  })

  test('a service whose certificate holds is not replaced, whatever token is shown', async () => {
    const before = await agent()
    await phase('host', 'init', 'update_clients', 'update_servers')
    const answer = await tryJoin(world, {
      secret: await mint(world),
      node: 'web-1',
      enrolment: before.enrolment,
    })
    expect(codeOf(answer)).toBe('ERR_JOIN_REFUSED')
  })
})

describe('the user CA', () => {
  test('signs from update_clients on: servers trust it before', async () => {
    const ann = await world.user('ann', ['access'])
    const { user: before } = await cas()
    await phase('user', 'init')
    const { user: both } = await cas()
    expect(both.x509.slice(0, 1)).toEqual(before.x509)
    await phase('user', 'update_clients')
    const { user: turned } = await cas()
    expect(turned.x509).toEqual([both.x509[1], both.x509[0]])
    const bob = await world.user('bob', ['access'])
    expect(signerOf(bob.certificate, turned.x509.slice(0, 1))).toBeDefined()
    for (const who of [ann, bob])
      expect((await world.as(who, 'GET', '/v1/whoami')).status).toBe(200)
    await phase('user', 'update_servers')
    pass(LIMITS.caPhaseMin.value)
    const early = await rotate('user', { phase: 'standby' })
    expect([codeOf(early), early.text]).toEqual([
      'ERR_CONFLICT',
      expect.stringContaining('user certificates'),
    ])
    pass(12 * HOUR)
    expect((await rotate('user', { phase: 'standby' })).status).toBe(200)
    expect((await cas()).user.x509).toEqual([both.x509[1]])
  })
})

describe('the policy key', () => {
  const open = async (jws: string, keys: readonly object[], typ: string) =>
    (
      await jwsVerify(jws, {
        keys: policyKeys(keys),
        algorithms: ['ES256'],
        typ,
        maxBytes: 1e6,
      })
    ).payload

  test('the new one is announced, linked and signs only what the old one vouched for', async () => {
    const one = await agent()
    const { policy: known } = await cas()
    await phase('policy', 'init')
    const announced = (await open((await getPolicy(one)).policy, known, POLICY_TYP)) as Policy
    expect(announced.cas.policy).toHaveLength(2)
    await phase('policy', 'update_clients', 'update_servers')
    const next = await getPolicy(one)
    // Who followed knows the key from the document before; who was away walks the links.
    await open(next.policy, announced.cas.policy.slice(1), POLICY_TYP)
    await open(next.freshness, announced.cas.policy.slice(1), FRESHNESS_TYP)
    await expect(open(next.policy, known, POLICY_TYP)).rejects.toMatchObject({
      code: 'ERR_PROOF_INVALID',
    })
    const reached = await walkLinks(policyKeys(known), next.links ?? [], 'test.internal')
    expect(reached).toHaveLength(2)
    expect(await walkLinks(policyKeys(known), next.links ?? [], 'another')).toHaveLength(1)
    const stranger = [generateKey().publicKey]
    expect(await walkLinks(stranger, next.links ?? [], 'test.internal')).toHaveLength(1)
    await phase('policy', 'standby')
    expect((await cas()).policy).toHaveLength(1)
  })

  test('nobody finishes before the old key signed the link, and 0 is no grace for it', async () => {
    expect((await rotate('policy', { grace: '0s' })).status).toBe(400)
    await phase('policy', 'init')
    pass(LIMITS.caPhaseMin.value)
    const early = await rotate('policy', { phase: 'update_clients' })
    expect([codeOf(early), early.text]).toEqual([
      'ERR_CONFLICT',
      expect.stringContaining('has not signed'),
    ])
  })

  test('two rotations later the links lead from the first key to the third; a rolled back one is gone', async () => {
    const one = await agent()
    const { policy: first } = await cas()
    for (let i = 0; i < 2; i++) {
      await phase('policy', 'init')
      await getPolicy(one)
      await phase('policy', 'update_clients', 'update_servers', 'standby')
    }
    await phase('policy', 'init')
    const dead = (await getPolicy(one)).links ?? []
    expect(dead).toHaveLength(3)
    expect((await rollback('policy')).body).toMatchObject({ phase: 'standby' })
    const { links = [], policy } = await getPolicy(one)
    expect(links).toEqual(dead.slice(0, 2))
    const reached = await walkLinks(policyKeys(first), links, 'test.internal')
    await jwsVerify(policy, {
      keys: reached,
      algorithms: ['ES256'],
      typ: POLICY_TYP,
      maxBytes: 1e6,
    })
  })

  test('signs the CAs for those who do not read the policy', async () => {
    const one = await agent()
    await phase('host', 'init')
    await getPolicy(one)
    const { policy, signed = '', host, ca_version: version } = await cas()
    const payload = signedCas.parse(await open(signed, policy, CAS_TYP))
    expect(payload.cas.host.x509).toEqual(host.x509)
    expect(payload.version).toBe(version)
  })

  test('certificates of users name the state of the CAs that they were signed in', async () => {
    const version = async () => (await world.user('ann', ['access'])).certs.ca_version
    expect(await version()).toBe((await cas()).ca_version)
    const before = await version()
    await phase('user', 'init', 'update_clients')
    expect(await version()).toBe(before + 2)
    expect(await version()).toBe((await cas()).ca_version)
  })
})

test('an unknown CA is not there, and who may not rotate gets the same answer', async () => {
  const ann = await world.user('ann', ['access'])
  const probe = async (path: string) => {
    const { status, body } = await world.as(ann, 'POST', path, {})
    return { status, code: (body as { code: string }).code }
  }
  expect(await probe('/v1/cas/host/rotate')).toEqual({ status: 404, code: 'ERR_NOT_FOUND' })
  expect((await world.op('POST', '/v1/cas/nothing/rotate', {})).status).toBe(404)
  expect((await world.as(ann, 'GET', '/v1/cas')).status).toBe(403)
})

test('two operators at once: one rotation, and no key too many that signs', async () => {
  const answers = await Promise.all([rotate('host'), rotate('host')])
  expect(answers.map((a) => a.status).sort()).toEqual([200, 409])
  expect(await pins()).toHaveLength(2)
})

test('a restart keeps a rotation where it was; retired keys are deleted', async () => {
  await phase('host', 'init', 'update_clients', 'update_servers')
  const files = () => readdirSync(join(world.dir, 'data/ca')).filter((f) => f.startsWith('host'))
  expect(files()).toHaveLength(2)
  await phase('host', 'standby')
  expect(files()).toEqual([expect.stringMatching(/^host-[0-9a-f]{16}\.key\.pem$/)])
})
