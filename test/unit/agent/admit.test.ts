/** The checks before a stream is accepted: each broken in one way, and told apart only in the audit log. */
import { beforeEach, describe, expect, test } from 'vitest'
import { admit, type Admission, type AdmitOptions } from '../../../agent/streams/admit.ts'
import { createReplayGuard } from '../../../agent/streams/replay.ts'
import type { Want } from '../../../core/access/decide.ts'
import { ROUTE_TYP, type RouteClaims } from '../../../core/api/route.ts'
import { jwsSign } from '../../../core/certs/jws.ts'
import { generateKey, keySigner, type Signer } from '../../../core/certs/signer.ts'
import { plus, seconds } from '../../../core/clock.ts'
import type { AgentId } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { signOffer, type Offer } from '../../../core/tunnel/open.ts'
import { handClock, type HandClock } from '../../support/clock.ts'
import {
  AGENT_ID,
  agentLeaf,
  CLUSTER,
  makeCa,
  NOW,
  userLeaf,
  type Ca,
  type Leaf,
} from '../../support/pki.ts'

let clock: HandClock
let policyKey: Signer
let userCa: Ca
let alice: Leaf
let allowed: boolean
let doubts: number
let options: AdmitOptions
const want: Want = { kind: 'app', labels: {} }

beforeEach(async () => {
  clock = handClock(NOW)
  policyKey = keySigner(generateKey().privateKey)
  userCa = await makeCa('user CA')
  alice = await userLeaf(userCa)
  allowed = true
  doubts = 0
  options = {
    cluster: CLUSTER,
    agentId: AGENT_ID,
    kind: 'app',
    service: { want: (r) => (r.kind === 'app' && r.name === 'grafana' ? want : undefined) },
    keeper: {
      keys: () => [policyKey.publicKey],
      userCas: () => [userCa.certificate],
      view: {
        decide: () =>
          allowed
            ? { allow: true, roles: [], why: '', grant: {} as never }
            : { allow: false, reason: 'no role allows it', why: 'none of [access]' },
        onChange: () => () => undefined,
        userCas: () => ({ sshBlobs: [], x509Pems: [] }),
      },
    },
    refresh: {
      doubt: async () => {
        doubts += 1
      },
    },
    replay: createReplayGuard(clock),
    clock,
    random: systemRandom,
  }
})

interface Ask {
  route?: Partial<RouteClaims>
  routeBy?: Signer
  offer?: Partial<Pick<Offer, 'resource' | 'kind'>>
  identity?: Leaf
  cluster?: string
  kind?: 'ssh' | 'app'
}

async function open(ask: Ask = {}) {
  const resource = { kind: 'app' as const, name: 'grafana' }
  const claims: RouteClaims = {
    aud: CLUSTER,
    resource,
    service: 'app',
    agents: [AGENT_ID],
    iat: seconds(clock.now()),
    exp: seconds(clock.now()) + 300,
    ...ask.route,
  }
  const route = await jwsSign(ask.routeBy ?? policyKey, { typ: ROUTE_TYP }, claims)
  const { jws } = await signOffer({
    cluster: ask.cluster ?? CLUSTER,
    route,
    kind: 'app',
    resource,
    identity: ask.identity ?? alice,
    now: clock.now(),
    random: systemRandom,
    ...ask.offer,
  })
  return { v: 1 as const, kind: ask.kind ?? ('app' as const), route, offer: jws }
}

const refusal = (a: Admission): { code: string; reason: string; user: string | undefined } => {
  if (a.ok) throw new Error('it was admitted')
  return { code: a.error.code, reason: a.error.internal ?? a.error.message, user: a.user }
}

test('a stream that everything holds for carries who, what and a session id of its own', async () => {
  const admission = await admit({ ...(await open()), peer: { ip: '192.0.2.9' } }, options)
  expect(admission).toMatchObject({
    ok: true,
    stream: {
      identity: { user: 'alice', roles: ['access', 'dev'] },
      resource: { kind: 'app', name: 'grafana' },
      claimedSource: '192.0.2.9',
    },
  })
  expect(doubts).toBe(0)
})

describe('what does not hold', () => {
  const other = 'ag_01jd00000000000000000000zz' as AgentId
  test.each<[string, string, RegExp, () => Promise<Ask>]>([
    [
      'a route by another key',
      'ERR_ROUTE_INVALID',
      /signature/,
      async () => ({ routeBy: keySigner(generateKey().privateKey) }),
    ],
    [
      'a route of another cluster',
      'ERR_ROUTE_INVALID',
      /another cluster/,
      async () => ({ route: { aud: 'other' } }),
    ],
    [
      'an expired route',
      'ERR_ROUTE_INVALID',
      /expired/,
      async () => ({ route: { iat: seconds(clock.now()) - 400, exp: seconds(clock.now()) - 100 } }),
    ],
    [
      'a route for another agent',
      'ERR_ROUTE_INVALID',
      /not for this agent/,
      async () => ({ route: { agents: [other] } }),
    ],
    [
      'a route for another service',
      'ERR_ROUTE_INVALID',
      /not for this service/,
      async () => ({ route: { service: 'ssh' } }),
    ],
    [
      'a stream for another service',
      'ERR_ROUTE_INVALID',
      /stream for service ssh/,
      async () => ({ kind: 'ssh' }),
    ],
    [
      'a route and an offer for two resources',
      'ERR_PROOF_INVALID',
      /another resource/,
      async () => ({ offer: { resource: { kind: 'app', name: 'other' } } }),
    ],
    [
      'a user of another CA',
      'ERR_PROOF_INVALID',
      /./,
      async () => ({ identity: await userLeaf(await makeCa('other')) }),
    ],
    [
      'an agent that poses as a user',
      'ERR_PROOF_INVALID',
      /./,
      async () => ({ identity: await agentLeaf(userCa) }),
    ],
    [
      'an offer for another cluster',
      'ERR_PROOF_INVALID',
      /./,
      async () => ({ cluster: 'other.cluster' }),
    ],
  ])('%s is refused', async (_what, code, reason, ask) => {
    const said = refusal(await admit(await open(await ask()), options))
    expect(said.code).toBe(code)
    expect(said.reason).toMatch(reason)
  })

  test('an expired user certificate is refused', async () => {
    clock.set(plus(clock.now(), 13 * 3_600_000))
    expect(refusal(await admit(await open(), options)).code).toBe('ERR_PROOF_INVALID')
  })

  test('an offer signed for one route does not serve another', async () => {
    const first = await open()
    clock.advance(1000)
    const second = await open()
    const mixed = { ...second, offer: first.offer }
    expect(refusal(await admit(mixed, options)).code).toBe('ERR_PROOF_INVALID')
  })

  // A proxy sees every OPEN that passes through it and could send it again.
  test('an offer is good once', async () => {
    const once = await open()
    expect((await admit(once, options)).ok).toBe(true)
    expect(refusal(await admit(once, options))).toMatchObject({
      code: 'ERR_PROOF_INVALID',
      reason: 'offer: replayed',
      user: 'alice',
    })
  })

  test('an offer that is old is refused before it is forgotten', async () => {
    const once = await open()
    expect((await admit(once, options)).ok).toBe(true)
    for (const wait of [30_000, 30_000, 61_000]) {
      clock.advance(wait)
      expect((await admit(once, options)).ok).toBe(false)
    }
  })

  test('when too many offers are remembered, new ones are refused, not let through', async () => {
    options = { ...options, replay: createReplayGuard(clock, 4) }
    for (let i = 0; i < 2; i++) expect((await admit(await open(), options)).ok).toBe(true)
    expect(refusal(await admit(await open(), options)).reason).toContain('too many')
    clock.advance(5 * 60_000)
    expect((await admit(await open(), options)).ok).toBe(true)
  })
})

describe('denied', () => {
  test('missing and denied read the same to the user, and not to the auditor', async () => {
    const resource = { kind: 'app' as const, name: 'nothing' }
    const missing = await admit(await open({ route: { resource }, offer: { resource } }), options)
    allowed = false
    const denied = await admit(await open(), options)
    const told = [missing, denied].map((a) => (a.ok ? 'ok' : `${a.error.code} ${a.error.message}`))
    expect(told[0]).toBe('ERR_ACCESS_DENIED Access denied')
    expect(told[1]).toBe(told[0])
    expect(refusal(missing).reason).not.toBe(refusal(denied).reason)
  })

  test('a denial is checked against a newer policy first', async () => {
    allowed = false
    options = {
      ...options,
      refresh: {
        doubt: async () => {
          allowed = true
        },
      },
    }
    expect((await admit(await open(), options)).ok).toBe(true)
  })
})
