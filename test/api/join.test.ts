/** Joining: one token, one identity, whatever happens on the way. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { agentLabelsOf } from '../../core/certs/agent-labels.ts'
import { credentials } from '../../core/api/join.ts'
import { identityOf } from '../../core/certs/identity.ts'
import { generateKey } from '../../core/certs/signer.ts'
import { parseSshCertificate } from '../../core/certs/ssh-certificate.ts'
import { verifyLeaf } from '../../core/certs/x509-verify.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { joined, mint, tryJoin } from './support/machine.ts'
import { codeOf, itemsOf, openWorld, pathsOf, type Answer, type World } from './support/world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world.close())

interface EventItem {
  outcome: string
  reason?: string
  actor: string
  fields: Record<string, unknown>
}
const lastJoin = async (): Promise<EventItem | undefined> =>
  itemsOf<EventItem>(await world.op('GET', '/v1/events?type=agent.join&limit=1'))[0]
const usesOf = async (name: string): Promise<unknown> =>
  ((await world.op('GET', `/v1/tokens/${name}`)).body as { status: { uses: number } }).status.uses
const named = async (name: string, more: Record<string, unknown> = {}): Promise<string> =>
  mint(world, { name, ...more })
const agentOf = (answer: Answer): string => credentials.parse(answer.body).agent_id

describe('an agent that joins', () => {
  test('gets certificates for its keys, signed for that service alone, for 24 hours', async () => {
    const secret = await mint(world)
    const agent = await joined(world, { secret, node: 'web-1' })
    const given = credentials.parse(agent.answer.body)
    const leaf = readCertificate(given.x509)
    const roots = given.host_ca.x509.map((pem) => readCertificate(pem))
    for (const usage of ['client', 'server'] as const)
      verifyLeaf(leaf, { roots, now: world.clock.now(), usage })
    expect(identityOf(leaf)).toEqual({
      kind: 'agent',
      cluster: 'test.internal',
      agentId: given.agent_id,
      service: 'ssh',
    })
    expect(leaf.dns).toEqual(['web-1', 'web-1.test.internal'])
    expect(leaf.publicKey.equals(agent.key.publicKey)).toBe(true)
    expect(Math.ceil((given.expires * 1000 - world.clock.now()) / 3_600_000)).toBe(24)
    const host = parseSshCertificate(Buffer.from(given.ssh_host?.split(' ')[1] ?? '', 'base64'))
    expect(host).toMatchObject({
      role: 'host',
      principals: ['web-1', given.agent_id, 'web-1.test.internal'],
    })
  })

  test('that runs a second service keeps its id and counts no second use', async () => {
    const secret = await named('two-services')
    const ssh = await joined(world, { secret, node: 'two-1' })
    const app = await joined(world, {
      secret,
      node: 'two-1',
      service: 'app',
      enrolment: ssh.enrolment,
    })
    expect(app.agentId).toBe(ssh.agentId)
    expect(credentials.parse(app.answer.body).ssh_host).toBeUndefined()
    expect(await usesOf('two-services')).toBe(1)
  })

  test('has one name: a service under another is refused, and works under the first', async () => {
    const secret = await mint(world)
    const first = await joined(world, { secret, node: 'first-name' })
    const app = { secret, service: 'app', enrolment: first.enrolment, key: generateKey() } as const
    expect(pathsOf(await tryJoin(world, { ...app, node: 'second-name' }))).toEqual(['node_name'])
    expect((await tryJoin(world, { ...app, node: 'first-name' })).status).toBe(200)
  })

  test('whose answer was lost repeats the call: same identity, counted once', async () => {
    const secret = await named('lost-answer')
    const keys = { enrolment: generateKey(), key: generateKey() }
    const first = await tryJoin(world, { secret, node: 'lost-1', ...keys })
    const again = await tryJoin(world, { secret, node: 'lost-1', ...keys })
    expect([first.status, again.status]).toEqual([200, 200])
    expect(agentOf(again)).toBe(agentOf(first))
    expect(credentials.parse(again.body).generation).toBe(1)
    expect(await usesOf('lost-answer')).toBe(1)
    expect(await lastJoin()).toMatchObject({ outcome: 'ok', fields: { again: true } })
  })

  test('200 at once on a one-use token: exactly one identity (SPIRE 1.14.6: all of them)', async () => {
    const secret = await named('race')
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        tryJoin(world, { secret, node: `race-${i}`, ip: `198.51.100.${i}` }),
      ),
    )
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(1)
    const refused = answers.filter((answer) => answer.status !== 200)
    expect(new Set(refused.map(codeOf))).toEqual(new Set(['ERR_JOIN_REFUSED']))
    expect(await usesOf('race')).toBe(1)
    const listed = itemsOf<{ spec: { token: string } }>(
      await world.op('GET', '/v1/agents?limit=500'),
    )
    expect(listed.filter((agent) => agent.spec.token === 'race')).toHaveLength(1)
  })

  test('leaves an event that names the token by its handle, never by its secret', async () => {
    const secret = await named('masked')
    await joined(world, { secret, node: 'masked-1' })
    const events = (await world.op('GET', '/v1/events?limit=500')).text
    expect(events).not.toContain(secret.slice(9))
    expect(await lastJoin()).toMatchObject({
      outcome: 'ok',
      fields: { token: 'masked', service: 'ssh', node: 'masked-1', method: 'token' },
    })
  })
})

describe('a join is refused, with the reason only in the audit log,', () => {
  const refusals: [string, (secret: string) => Promise<Answer>, string, RegExp][] = [
    [
      'for an unknown secret',
      () => tryJoin(world, { secret: `pst_join_${'A'.repeat(43)}` }),
      'ERR_JOIN_REFUSED',
      /unknown token/,
    ],
    [
      'for a secret that is no secret',
      () => tryJoin(world, { secret: 'hello' }),
      'ERR_JOIN_REFUSED',
      /not a token secret/,
    ],
    [
      'when the token expired, by the clock',
      async (secret) => {
        world.later(31 * 60_000)
        return tryJoin(world, { secret, node: 'r-1' })
      },
      'ERR_JOIN_REFUSED',
      /^expired$/,
    ],
    [
      'when the token is used up',
      async (secret) => {
        await joined(world, { secret, node: 'r-2' })
        return tryJoin(world, { secret, node: 'r-3' })
      },
      'ERR_JOIN_REFUSED',
      /^used up$/,
    ],
    [
      'when evidence has another field',
      (secret) =>
        tryJoin(world, {
          secret,
          mutate: (p) => ({ ...p, evidence: { secret, extra: 1 } }),
        }),
      'ERR_JOIN_REFUSED',
      /evidence: extra/,
    ],
    [
      'when the secret is not the one of the challenge',
      (secret) =>
        tryJoin(world, {
          secret,
          mutate: (p) => ({ ...p, evidence: { secret: `pst_join_${'B'.repeat(43)}` } }),
        }),
      'ERR_JOIN_REFUSED',
      /challenge was made for/,
    ],
    [
      'when the service key does not sign',
      (secret) => {
        const other = generateKey()
        const key = generateKey()
        return tryJoin(world, {
          secret,
          key: { publicKey: key.publicKey, privateKey: other.privateKey },
        })
      },
      'ERR_JOIN_REFUSED',
      /by the service key/,
    ],
    [
      'when the enrolment key does not sign',
      (secret) => {
        const other = generateKey()
        const { publicKey } = generateKey()
        return tryJoin(world, { secret, enrolment: { publicKey, privateKey: other.privateKey } })
      },
      'ERR_JOIN_REFUSED',
      /by the enrolment key/,
    ],
    [
      'when the challenge was for another service',
      (secret) => tryJoin(world, { secret, mutate: (p) => ({ ...p, service: 'app' }) }),
      'ERR_JOIN_CHALLENGE_INVALID',
      /another service$/,
    ],
    [
      'when the challenge was changed',
      (secret) =>
        tryJoin(world, {
          secret,
          mutate: (p) => ({ ...p, challenge: `A${p.challenge.slice(1)}` }),
        }),
      'ERR_JOIN_CHALLENGE_INVALID',
      /not sealed here/,
    ],
    [
      'when the challenge expired',
      (secret) =>
        tryJoin(world, {
          secret,
          mutate: (p) => {
            world.later(61_000)
            return p
          },
        }),
      'ERR_JOIN_CHALLENGE_INVALID',
      /challenge expired/,
    ],
    [
      'when the node name is held by another agent',
      async (secret) => {
        await joined(world, { secret: await mint(world), node: 'held-1' })
        return tryJoin(world, { secret, node: 'held-1' })
      },
      'ERR_NAME_TAKEN',
      /name taken: held-1/,
    ],
    [
      'when the service key belongs to another agent',
      async (secret) => {
        const other = await joined(world, { secret: await mint(world), node: 'key-1' })
        return tryJoin(world, { secret, node: 'key-2', key: other.key })
      },
      'ERR_KEY_ENROLLED',
      /key enrolled/,
    ],
  ]
  test.each(refusals)('%s', async (_, attempt, code, reason) => {
    const answer = await attempt(await mint(world))
    expect(codeOf(answer)).toBe(code)
    const event = await lastJoin()
    expect(event?.outcome).toBe('refused')
    expect(event?.reason).toMatch(reason)
    if (code === 'ERR_JOIN_REFUSED') expect(answer.text).not.toMatch(reason)
  })

  test('when the token was revoked', async () => {
    const secret = await named('revoked-one')
    await world.op('DELETE', '/v1/tokens/revoked-one')
    expect(codeOf(await tryJoin(world, { secret }))).toBe('ERR_JOIN_REFUSED')
    expect((await lastJoin())?.reason).toMatch(/unknown token|revoked/)
  })

  test('when the agent is locked, for one more service too', async () => {
    const secret = await mint(world)
    const agent = await joined(world, { secret, node: 'locked-1' })
    await world.op('POST', '/v1/locks', { target: { agent: agent.agentId } })
    const answer = await tryJoin(world, {
      secret,
      node: 'locked-1',
      service: 'app',
      enrolment: agent.enrolment,
    })
    expect(codeOf(answer)).toBe('ERR_JOIN_REFUSED')
    expect((await lastJoin())?.reason).toBe('locked')
  })

  test('naming the service and the roles when the token does not allow the service', async () => {
    const secret = await mint(world, { roles: ['node'] })
    const answer = await tryJoin(world, { secret, service: 'app' })
    expect(answer).toMatchObject({
      status: 403,
      body: { code: 'ERR_JOIN_SERVICE_NOT_ALLOWED', service: 'app', roles: ['Node'] },
    })
  })

  test('when the name is not among those that the token allows', async () => {
    const answer = await world.op('POST', '/v1/tokens', {
      kind: 'token',
      version: 'v2',
      metadata: { name: 'only-one' },
      spec: { roles: ['Node'], allowed_names: ['good-1'], forced_labels: { env: 'prod' } },
    })
    const { secret } = answer.body as { secret: string }
    expect(codeOf(await tryJoin(world, { secret, node: 'bad-1' }))).toBe('ERR_JOIN_REFUSED')
    const good = await joined(world, { secret, node: 'good-1' })
    expect(credentials.parse(good.answer.body).forced_labels).toEqual({ env: 'prod' })
    expect(agentLabelsOf(good.certificate)).toEqual({ forced: { env: 'prod' }, suggested: {} })
  })

  test('and a refused join uses nothing up', async () => {
    const secret = await named('untouched')
    await tryJoin(world, { secret, mutate: (p) => ({ ...p, service: 'app' }) })
    await tryJoin(world, { secret, node: 'held-1' })
    expect(await usesOf('untouched')).toBe(0)
    expect((await tryJoin(world, { secret, node: 'untouched-1' })).status).toBe(200)
  })
})
