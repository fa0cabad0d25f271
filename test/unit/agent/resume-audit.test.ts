// Resuming somebody else's stream, tried as a proxy would pass it on: what the caller hears is one sentence, what the audit log gets is
// the exact reason. Through the whole of the agent's dispatch.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createDispatch } from '../../../agent/streams/dispatch.ts'
import { createReplayGuard } from '../../../agent/streams/replay.ts'
import type { ServiceContext } from '../../../agent/services/service.ts'
import { ROUTE_TYP } from '../../../core/api/route.ts'
import { jwsSign } from '../../../core/certs/jws.ts'
import { generateKey, keySigner } from '../../../core/certs/signer.ts'
import { plus, seconds } from '../../../core/clock.ts'
import type { AppError } from '../../../core/errors.ts'
import { newId, type AgentId } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { encodeOpen, signOffer } from '../../../core/tunnel/open.ts'
import { proofRecord } from '../../../core/tunnel/resume-codec.ts'
import {
  newNonce,
  readAccept,
  readResumed,
  resumeMac,
  signResume,
} from '../../../core/tunnel/resume-handshake.ts'
import { createWindowBudget } from '../../../core/tunnel/window-budget.ts'
import { twoSessions, type TwoSessions } from '../../contract/stream/stream-contract.ts'
import { handClock } from '../../support/clock.ts'
import { AGENT_ID, agentLeaf, CLUSTER, HOUR, makeCa, NOW, userLeaf } from '../../support/pki.ts'
import type { Leaf } from '../../support/pki.ts'
import { recordingLog } from '../../support/recording-log.ts'
import { offers } from '../../support/streams.ts'
import { memoryPair } from '../../support/transports.ts'

const clock = handClock(NOW)
const policyKey = keySigner(generateKey().privateKey)
const userCa = await makeCa('user CA')
const hostCa = await makeCa('host CA')
const alice = await userLeaf(userCa)
const resource = { kind: 'app' as const, name: 'grafana' }
const OTHER = newId('agent', NOW, systemRandom)

type Audited = Parameters<ServiceContext['audit']>[0]
let allowed = true
/** Ends the stream from the service's side. */
let endService: () => void

/** An agent's service behind a tunnel, and what it writes into the audit log. */
async function agentAt(agentId: AgentId) {
  const audited = offers<Audited>()
  const identity = await agentLeaf(hostCa)
  const dispatch = createDispatch({
    cluster: CLUSTER,
    agentId,
    kind: 'app',
    service: {
      kind: 'app',
      want: (r) => (r.name === 'grafana' ? { kind: 'app', labels: {} } : undefined),
      serve: ({ duplex }) =>
        new Promise((resolve) => {
          duplex.on('error', () => undefined).on('close', resolve)
          endService = () => duplex.destroy()
        }),
      close: () => Promise.resolve(),
    },
    keeper: {
      keys: () => [policyKey.publicKey],
      userCas: () => [userCa.certificate],
      view: {
        decide: () =>
          allowed
            ? { allow: true, roles: [], why: '', grant: {} as never }
            : { allow: false, reason: 'user locked', why: 'lock lk_1' },
        onChange: () => () => undefined,
        userCas: () => ({ sshBlobs: [], x509Pems: [] }),
      },
    },
    refresh: { doubt: () => Promise.resolve(), pushed: () => Promise.resolve() },
    replay: createReplayGuard(clock),
    clock,
    random: systemRandom,
    identity: () => identity,
    replayBudget: createWindowBudget(),
    log: recordingLog(),
    metrics: { inc: () => undefined },
    audit: (event) => audited.push(event),
    onProxies: () => undefined,
    signal: new AbortController().signal,
  })
  const two = twoSessions(memoryPair(), {
    server: { onOpen: (stream, payload) => dispatch.onOpen(stream, payload) },
  })
  return { two, audited }
}
let here: Awaited<ReturnType<typeof agentAt>>
let sid: string
let key: Buffer
const tunnels: TwoSessions[] = []

async function routeTo(agent: AgentId): Promise<string> {
  const iat = seconds(clock.now())
  const claims = { aud: CLUSTER, resource, service: 'app', agents: [agent], iat, exp: iat + 300 }
  return jwsSign(policyKey, { typ: ROUTE_TYP }, claims)
}

beforeEach(async () => {
  allowed = true
  here = await agentAt(AGENT_ID)
  tunnels.push(here.two)
  const route = await routeTo(AGENT_ID)
  const by = { cluster: CLUSTER, route, resource, identity: alice, now: clock.now() }
  const offer = await signOffer({ ...by, resumable: true })
  const stream = await here.two.client.open(
    encodeOpen({ v: 1, kind: 'app', route, offer: offer.jws }),
  )
  sid = offer.offer.sid
  key = (await readAccept(stream.payload, offer, () => undefined)).key
  stream.reset('ERR_TUNNEL_CLOSED')
  await here.two.client.ping()
})
afterEach(() => {
  for (const { client, server } of tunnels.splice(0)) {
    client.close()
    server.close()
  }
})

interface Ask {
  readonly identity?: Leaf
  readonly to?: AgentId
  readonly sid?: string
  readonly key?: Buffer
  /** The tunnel of another agent. */
  readonly at?: TwoSessions
}
/** What the caller hears; undefined when the stream is his. */
async function resume(ask: Ask = {}): Promise<{ code: string; message: string } | undefined> {
  const { identity = alice, to = AGENT_ID, at = here.two } = ask
  const route = await routeTo(to)
  const nonce = newNonce(systemRandom)
  const said = { sid: ask.sid ?? sid, epoch: 1, next: 0, kind: 'app' as const, resource, nonce }
  const offer = await signResume({ cluster: CLUSTER, route, identity, now: clock.now() }, said)
  const heard = ({ code, message }: AppError) => ({ code, message })
  try {
    const leg = await at.client.open(encodeOpen({ v: 1, kind: 'app', route, offer }))
    const asked = { sid, epoch: 1, userNonce: nonce, userNext: 0 }
    const facts = readResumed(leg.payload, key, asked)
    const over = new Promise<AppError | undefined>((resolve) => (leg.onclose = resolve))
    leg.start()
    leg.write(proofRecord(resumeMac(ask.key ?? key, 'user', facts)))
    const cut = await Promise.race([over, at.client.ping().then(() => at.client.ping())])
    return typeof cut === 'object' ? heard(cut) : undefined
  } catch (e) {
    return heard(e as AppError)
  }
}
const OPAQUE = { code: 'ERR_STREAM_RESET', message: 'The stream cannot be resumed' }

test('the user who opened it goes on, with the certificate of then or a renewed one, and nothing is refused', async () => {
  expect(await resume({ identity: await userLeaf(userCa) })).toBeUndefined()
})

test.each<[string, () => Promise<Ask>, RegExp, string]>([
  [
    'another user, with the key that the stream had',
    async () => ({ identity: await userLeaf(userCa, 'mallory') }),
    /^resume: a stream of another user$/,
    'mallory',
  ],
  [
    'somebody who guesses a stream',
    async () => ({ sid: 'A'.repeat(22) }),
    /^resume: unknown stream$/,
    'alice',
  ],
  [
    "the same user's certificate without the key of the stream",
    async () => ({ key: Buffer.alloc(32) }),
    /^resume: the proof does not hold$/,
    'alice',
  ],
  [
    'the user himself, once the service has ended the stream',
    async () => {
      endService()
      await here.two.client.ping()
      return {}
    },
    /^resume: unknown stream$/,
    'alice',
  ],
])(
  '%s hears that it cannot be resumed; the audit log has why',
  async (_who, ask, reason, actor) => {
    expect(await resume(await ask())).toEqual(OPAQUE)
    const event = await here.audited.next()
    expect(event).toMatchObject({
      type: 'session.refused',
      outcome: 'refused',
      actor,
      resource: 'app/grafana',
    })
    expect(event.reason).toMatch(reason)
  },
)

test('a certificate that has expired proves nobody: neither name nor reason leave the agent', async () => {
  const expired = await userLeaf(userCa, 'alice', 'ES256', plus(clock.now(), -13 * HOUR))
  const heard = await resume({ identity: expired })
  expect(JSON.stringify(heard)).not.toMatch(/alice|stream of/)
  expect(await here.audited.next()).toMatchObject({
    actor: 'unproven',
    reason: expect.stringMatching(/expired/) as string,
  })
})

test('a user who is locked is told that access is denied, and the audit log has the lock', async () => {
  allowed = false
  expect(await resume()).toMatchObject({ code: 'ERR_ACCESS_DENIED' })
  expect(await here.audited.next()).toMatchObject({
    actor: 'alice',
    reason: 'user locked: lock lk_1',
  })
})

// A proxy that sends a request to where it does not belong, or an agent that plays another one.
test('another agent does not have the stream, whether the route names it or not', async () => {
  const there = await agentAt(OTHER)
  tunnels.push(there.two)
  expect(await resume({ at: there.two })).toMatchObject({ code: 'ERR_ROUTE_INVALID' })
  expect((await there.audited.next()).reason).toBe('route: not for this agent')
  expect(await resume({ at: there.two, to: OTHER })).toEqual(OPAQUE)
  expect((await there.audited.next()).reason).toBe('resume: unknown stream')
  // And it cost the owner nothing.
  expect(await resume()).toBeUndefined()
})

test('an answer by whoever does not have the key of the stream is not taken for the agent’s', async () => {
  const route = await routeTo(AGENT_ID)
  const nonce = newNonce(systemRandom)
  const said = { sid, epoch: 1, next: 0, kind: 'app' as const, resource, nonce }
  const by = { cluster: CLUSTER, route, identity: alice, now: clock.now() }
  const leg = await here.two.client.open(
    encodeOpen({ v: 1, kind: 'app', route, offer: await signResume(by, said) }),
  )
  const asked = { sid, epoch: 1, userNonce: nonce, userNext: 0 }
  expect(() => readResumed(leg.payload, Buffer.alloc(32), asked)).toThrow()
  const forged = Buffer.from(leg.payload)
  forged[forged.length - 4] = (forged[forged.length - 4] ?? 0) ^ 1
  expect(() => readResumed(forged, key, asked)).toThrow()
  expect(readResumed(leg.payload, key, asked)).toMatchObject({ sid, epoch: 1 })
  leg.reset()
})
