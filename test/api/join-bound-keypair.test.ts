/** Method `bound_keypair`: registration, recovery and its limit, and what happens to a copied key. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { credentials } from '../../core/api/join.ts'
import { CONTEXT, prove } from '../../core/certs/proof.ts'
import { generateKey, keySigner, type KeyPair } from '../../core/certs/signer.ts'
import { authorizedKey, publicKeyBlob } from '../../core/certs/ssh-key.ts'
import { encodeKey } from '../../core/join/messages.ts'
import { joinBy, lastJoin, tokenFile, type MethodJoin } from './support/method-join.ts'
import { codeOf, itemsOf, openWorld, pathsOf, type Answer, type World } from './support/world.ts'

let world: World
let n = 0
let token = ''
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world.close())
beforeEach(() => {
  n += 1
  token = `machine-${n}`
})

const DAY = 24 * 3600_000

interface Machine {
  readonly bound: KeyPair
  readonly enrolment: KeyPair
  secret?: string | undefined
  state?: string | undefined
}
const machine = (more: Partial<Machine> = {}): Machine => ({
  bound: generateKey('EdDSA'),
  enrolment: generateKey(),
  ...more,
})

async function evidenceOf(of: Machine, challenge: string): Promise<Record<string, unknown>> {
  const signed = Buffer.from(challenge, 'ascii')
  const signature = await prove(CONTEXT.boundKeypair, keySigner(of.bound.privateKey), signed)
  return {
    public_key: encodeKey(of.bound.publicKey),
    signature: signature.toString('base64url'),
    ...(of.secret === undefined ? {} : { registration_secret: of.secret }),
    ...(of.state === undefined ? {} : { join_state: of.state }),
  }
}
/** Joins and keeps the state, as an agent does. */
async function join(of: Machine, more: Partial<MethodJoin> = {}): Promise<Answer> {
  const answer = await joinBy(world, {
    method: 'bound_keypair',
    token,
    node: token,
    enrolment: of.enrolment,
    evidence: (challenge) => evidenceOf(of, challenge),
    ...more,
  })
  if (answer.status === 200) of.state = credentials.parse(answer.body).join_state
  return answer
}
const mint = async (spec: Record<string, unknown> = {}): Promise<string | undefined> => {
  const file = tokenFile(token, { join_method: 'bound_keypair', bound_keypair: spec })
  const answer = await world.op('POST', '/v1/tokens', file)
  expect(answer.status).toBe(201)
  return (answer.body as { registration_secret?: string }).registration_secret
}
const reason = async (): Promise<string | undefined> => (await lastJoin(world))?.reason
/** The certificate of the last join runs out. */
const sleepPastExpiry = (): void => world.later(DAY + 1)

describe('registration', () => {
  test('by the secret that the server made and shows once', async () => {
    const of = machine({ secret: await mint() })
    expect(of.secret).toMatch(/^pst_reg_/)
    expect((await join(of)).status).toBe(200)
    expect(of.state).toBeDefined()
    const shown = (await world.op('GET', `/v1/tokens/${token}`)).text
    expect(shown).not.toContain(of.secret)
    expect(shown).toContain('"recovery":{"limit":1,"mode":"standard"}')
    expect((await world.op('GET', '/v1/events?limit=500')).text).not.toContain(of.secret)
  })

  test('by a key named beforehand, as a line of authorized_keys or as its SPKI', async () => {
    const of = machine()
    const line = authorizedKey(publicKeyBlob(of.bound.publicKey), 'web-1')
    expect(await mint({ onboarding: { initial_public_key: line } })).toBeUndefined()
    expect((await join(of)).status).toBe(200)
    token = `${token}-spki`
    const other = machine({ bound: generateKey('ES256') })
    await mint({ onboarding: { initial_public_key: encodeKey(other.bound.publicKey) } })
    expect((await join(other)).status).toBe(200)
  })

  test('of two services that start together, with one secret', async () => {
    const of = machine({ secret: await mint() })
    const answers = await Promise.all([join(of), join({ ...of }, { service: 'app' })])
    expect(answers.map((answer) => answer.status)).toEqual([200, 200])
  })

  test('is for one key: of fifty machines that race with one secret, one joins', async () => {
    const secret = await mint()
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        join(machine({ secret }), { node: `${token}-${i}`, ip: `198.51.100.${i}` }),
      ),
    )
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(1)
  })

  test.each<[string, (of: Machine) => Machine, RegExp]>([
    ['without a secret', (of) => ({ ...of, secret: undefined }), /no registration secret/],
    ['with a wrong secret', (of) => ({ ...of, secret: `${of.secret}x` }), /secret is wrong/],
    ['with an empty secret', (of) => ({ ...of, secret: '' }), /secret is wrong/],
  ])('%s is refused', async (_, change, why) => {
    expect(codeOf(await join(change(machine({ secret: await mint() }))))).toBe('ERR_JOIN_REFUSED')
    expect(await reason()).toMatch(why)
  })

  test('after the time for it is refused', async () => {
    const must_register_before = new Date(world.clock.now() + 60_000).toISOString()
    const secret = await mint({ onboarding: { must_register_before } })
    world.later(60_000)
    expect(codeOf(await join(machine({ secret })))).toBe('ERR_JOIN_REFUSED')
    expect(await reason()).toMatch(/time to register/)
  })
})

describe('evidence broken in one place is refused:', () => {
  const broken: [
    string,
    (good: Record<string, unknown>, of: Machine, c: string) => unknown,
    RegExp,
  ][] = [
    [
      'a key that is not the registered one',
      (_, of, c) => evidenceOf({ ...of, bound: generateKey() }, c),
      /another key is registered/,
    ],
    [
      'a key of which only the public half is there (Warpgate, CVE-2023-43660)',
      (good) => ({ ...good, signature: 'A'.repeat(86) }),
      /did not sign/,
    ],
    ['a signature of another challenge', (_, of) => evidenceOf(of, 'another'), /did not sign/],
    [
      'a signature made for another purpose',
      async (good, of, c) => {
        const signature = await prove(CONTEXT.join, keySigner(of.bound.privateKey), Buffer.from(c))
        return { ...good, signature: signature.toString('base64url') }
      },
      /did not sign/,
    ],
    [
      'a key in another encoding',
      (good) => ({ ...good, public_key: `${String(good['public_key'])}=` }),
      /public_key/,
    ],
    ['an RSA key', (good) => ({ ...good, public_key: 'AAAA' }), /public_key/],
    ['a field more', (good) => ({ ...good, extra: 1 }), /evidence: extra/],
    [
      'a signature that is too long',
      (good) => ({ ...good, signature: 'A'.repeat(300) }),
      /evidence: signature/,
    ],
    [
      "a join state of the machine's own making",
      (good) => ({ ...good, join_state: 'A'.repeat(80) }),
      /not of this token/,
    ],
  ]
  test.each(broken)('%s', async (_, change, why) => {
    const of = machine({ secret: await mint({ recovery: { limit: 9 } }) })
    await join(of)
    sleepPastExpiry()
    const evidence: MethodJoin['evidence'] = async (c) => change(await evidenceOf(of, c), of, c)
    expect(codeOf(await join(of, { evidence }))).toBe('ERR_JOIN_REFUSED')
    expect(await reason()).toMatch(why)
  })

  test('a join state of another machine, of another service', async () => {
    const of = machine({ secret: await mint({ recovery: { limit: 9 } }) })
    await join(of)
    const app = { ...of }
    await join(app, { service: 'app' })
    sleepPastExpiry()
    expect((await join({ ...of, state: app.state })).status).toBe(403)
    expect(await reason()).toMatch(/not of this token, key and service/)
  })
})

describe('recovery after the certificate ran out', () => {
  test('gives the same agent again, up to the limit', async () => {
    const of = machine({ secret: await mint({ recovery: { limit: 2 } }) })
    const first = credentials.parse((await join(of)).body)
    sleepPastExpiry()
    const second = await join(of)
    expect(credentials.parse(second.body).agent_id).toBe(first.agent_id)
    sleepPastExpiry()
    expect((await join(of)).status).toBe(403)
    expect(await reason()).toMatch(/recovery limit of 2/)
  })

  test('counts a repeat of a call whose answer was lost as nothing', async () => {
    const of = machine({ secret: await mint() })
    const key = generateKey()
    await join({ ...of }, { key })
    const again = await join(of, { key })
    expect([again.status, of.state !== undefined]).toEqual([200, true])
    expect((await lastJoin(world))?.fields).toMatchObject({ again: true })
  })

  test('relaxed has no limit, but wants the join state', async () => {
    const of = machine({ secret: await mint({ recovery: { mode: 'relaxed' } }) })
    for (let i = 0; i < 4; i++) {
      expect((await join(of)).status).toBe(200)
      sleepPastExpiry()
    }
    expect((await join({ ...of, state: undefined })).status).toBe(403)
    expect(await reason()).toMatch(/no join state/)
  })

  test('insecure wants neither', async () => {
    const of = machine({ secret: await mint({ recovery: { mode: 'insecure' } }) })
    for (let i = 0; i < 3; i++) {
      of.state = undefined
      expect((await join(of)).status).toBe(200)
      sleepPastExpiry()
    }
  })

  test('with an old join state locks the key and the agent: one of two copies has joined since', async () => {
    const of = machine({ secret: await mint({ recovery: { limit: 9 } }) })
    const { agent_id: agent } = credentials.parse((await join(of)).body)
    const copy = { ...of }
    sleepPastExpiry()
    expect((await join(of)).status).toBe(200)
    sleepPastExpiry()
    expect((await join(copy)).status).toBe(403)
    expect(await reason()).toMatch(/copied keypair: join state 1 instead of 2/)
    const locks = itemsOf<{ spec: { target: unknown } }>(await world.op('GET', '/v1/locks'))
    expect(locks.map((lock) => lock.spec.target)).toContainEqual({ agent })
    expect((await join(of)).status).toBe(403)
    expect(await reason()).toMatch(/locked because it was copied/)
    const events = itemsOf<{ reason?: string }>(
      await world.op('GET', '/v1/events?type=lock.create'),
    )
    expect(events.map((event) => event.reason)).toContain('copied keypair')
  })

  test('of two copies with the same state at once, one joins and the other is refused', async () => {
    const of = machine({ secret: await mint({ recovery: { limit: 9 } }) })
    await join(of)
    sleepPastExpiry()
    const answers = await Promise.all([join({ ...of }), join({ ...of })])
    expect(answers.map((answer) => answer.status).sort()).toEqual([200, 403])
  })

  test('a revoked token ends it, and a new one of the same name knows nothing of the old', async () => {
    const of = machine({ secret: await mint({ recovery: { limit: 9 } }) })
    await join(of)
    await world.op('DELETE', `/v1/tokens/${token}`)
    sleepPastExpiry()
    expect((await join(of)).status).toBe(403)
    expect(await reason()).toBe('unknown token')
    await mint()
    expect((await join(of)).status).toBe(403)
    expect(await reason()).toMatch(/secret is wrong/)
  })
})

test.each([
  [
    'a key and a secret',
    { onboarding: { initial_public_key: 'x', registration_secret: 's'.repeat(32) } },
    'onboarding.initial_public_key',
  ],
  [
    'a key that is none',
    { onboarding: { initial_public_key: 'ssh-ed25519 AAAA' } },
    'onboarding.initial_public_key',
  ],
  [
    'an RSA key',
    { onboarding: { initial_public_key: 'ssh-rsa AAAA' } },
    'onboarding.initial_public_key',
  ],
  [
    'a short secret',
    { onboarding: { registration_secret: 'short' } },
    'onboarding.registration_secret',
  ],
  ['no limit', { recovery: { limit: 0 } }, 'recovery.limit'],
  ['an unknown mode', { recovery: { mode: 'lax' } }, 'recovery.mode'],
  ['a rotation', { rotate_after: '2027-01-01T00:00:00Z' }, 'rotate_after'],
])('a token with %s names the field', async (_, spec, path) => {
  const file = tokenFile(token, { join_method: 'bound_keypair', bound_keypair: spec })
  expect(pathsOf(await world.op('POST', '/v1/tokens', file))).toEqual([
    `spec.bound_keypair.${path}`,
  ])
})
