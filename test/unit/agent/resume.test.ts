/** Who may go on with a stream: each condition broken alone. The caller learns nothing; the audit log learns what was wrong. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createReplayGuard } from '../../../agent/streams/replay.ts'
import {
  createResumableStreams,
  type ResumableDeps,
  type ResumableStreams,
} from '../../../agent/streams/resumable.ts'
import { ROUTE_TYP } from '../../../core/api/route.ts'
import { jwsSign } from '../../../core/certs/jws.ts'
import { generateKey, keySigner, type Signer } from '../../../core/certs/signer.ts'
import { seconds } from '../../../core/clock.ts'
import { LIMITS } from '../../../core/limits.ts'
import { newId } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { signOffer, verifyOffer, type ResourceOpen } from '../../../core/tunnel/open.ts'
import type { ResumableStream } from '../../../core/tunnel/resume.ts'
import { proofRecord } from '../../../core/tunnel/resume-codec.ts'
import {
  newNonce,
  readAccept,
  readResumed,
  resumeMac,
  signResume,
  type Resume,
} from '../../../core/tunnel/resume-handshake.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import { createWindowBudget } from '../../../core/tunnel/window-budget.ts'
import { twoSessions, type TwoSessions } from '../../contract/stream/stream-contract.ts'
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
import { recordingLog } from '../../support/recording-log.ts'
import { memoryPair } from '../../support/transports.ts'

const resource = { kind: 'app' as const, name: 'grafana' }
let clock: HandClock
let policyKey: Signer
let userCa: Ca
let alice: Leaf
let allowed: boolean
let deps: ResumableDeps
let streams: ResumableStreams
let two: TwoSessions
let sid: string
let key: Buffer
let stream: ResumableStream

async function routeJws(): Promise<string> {
  const iat = seconds(clock.now())
  const claims = { aud: CLUSTER, resource, service: 'app', agents: [AGENT_ID], iat, exp: iat + 300 }
  return jwsSign(policyKey, { typ: ROUTE_TYP }, claims)
}
async function leg(): Promise<{ opening: Promise<TunnelStream>; offered: TunnelStream }> {
  const opening = two.client.open(Buffer.from('leg'))
  opening.catch(() => undefined)
  return { opening, offered: await two.next() }
}

interface Ask {
  identity?: Leaf
  said?: Partial<Pick<Resume, 'sid' | 'epoch' | 'nonce' | 'resource'>>
}
async function ask({ identity = alice, said = {} }: Ask = {}): Promise<
  ResourceOpen & { nonce: string }
> {
  const route = await routeJws()
  const nonce = said.nonce ?? newNonce(systemRandom)
  const by = { cluster: CLUSTER, route, identity, now: clock.now() }
  const offer = await signResume(by, {
    sid,
    epoch: 1,
    next: 0,
    kind: 'app',
    resource,
    ...said,
    nonce,
  })
  return { v: 1, kind: 'app', route, offer, nonce }
}

beforeEach(async () => {
  clock = handClock(NOW)
  policyKey = keySigner(generateKey().privateKey)
  userCa = await makeCa('user CA')
  const hostCa = await makeCa('host CA')
  alice = await userLeaf(userCa)
  const agent = await agentLeaf(hostCa)
  allowed = true
  deps = {
    cluster: CLUSTER,
    agentId: AGENT_ID,
    kind: 'app',
    service: { want: (r) => (r.name === 'grafana' ? { kind: 'app', labels: {} } : undefined) },
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
    refresh: { doubt: () => Promise.resolve() },
    replay: createReplayGuard(clock),
    clock,
    random: systemRandom,
    identity: () => agent,
    replayBudget: createWindowBudget(),
    log: recordingLog(),
  }
  streams = createResumableStreams(deps)
  two = twoSessions(memoryPair())
  const route = await routeJws()
  const offer = await signOffer({
    cluster: CLUSTER,
    route,
    resource,
    identity: alice,
    now: clock.now(),
    resumable: true,
  })
  const verified = await verifyOffer(offer.jws, {
    cluster: CLUSTER,
    route,
    kind: 'app',
    userCas: [userCa.certificate],
    now: clock.now(),
  })
  expect(verified.resumable).toBe(true)
  const { opening, offered } = await leg()
  const made = await streams.accept(
    offered,
    { jws: offer.jws, claims: verified.offer },
    {
      sessionId: newId('session', NOW, systemRandom),
      streamId: verified.offer.sid,
      resource,
      identity: verified.identity,
      claimedSource: undefined,
    },
  )
  if (!made) throw new Error('not accepted')
  stream = made
  const first = await opening
  sid = offer.offer.sid
  key = (await readAccept(first.payload, offer, () => undefined)).key
  first.reset('ERR_TUNNEL_CLOSED')
  await two.client.ping()
  expect(stream.broken).toBe(true)
})
afterEach(() => {
  two.client.close()
  two.server.close()
})

/** Asks and proves, with this key; the answer is what the audit log gets. */
async function resume(open: ResourceOpen & { nonce: string }, epoch = 1, by: Buffer = key) {
  const { opening, offered } = await leg()
  const answered = streams.resume(offered, open)
  const proving = opening.then((mine) => {
    const asked = { sid, epoch, userNonce: open.nonce, userNext: 0 }
    const facts = readResumed(mine.payload, key, asked)
    mine.start()
    mine.write(proofRecord(resumeMac(by, 'user', facts)))
  })
  proving.catch(() => undefined)
  const refusal = await answered
  return (
    refusal && {
      code: refusal.error.code,
      message: refusal.error.message,
      reason: refusal.error.internal ?? refusal.error.message,
      user: refusal.user,
    }
  )
}

test('the user who opened it, with the key that came of it, goes on with it', async () => {
  expect(await resume(await ask())).toBeUndefined()
  expect(stream.broken).toBe(false)
})

test('a higher epoch takes the stream over, the same one again does not', async () => {
  expect(await resume(await ask())).toBeUndefined()
  expect(await resume(await ask({ said: { epoch: 2 } }), 2)).toBeUndefined()
  expect(await resume(await ask({ said: { epoch: 2 } }), 2)).toMatchObject({
    code: 'ERR_STREAM_RESET',
    reason: expect.stringContaining('epoch 2 after 2') as string,
  })
  expect(stream.broken).toBe(false)
})

describe('who is refused, and what the audit log says', () => {
  // All of these look the same from outside, so that nobody learns which streams exist.
  test.each<[string, RegExp, () => Promise<Ask>]>([
    [
      'another user of the same cluster',
      /another user/,
      async () => ({ identity: await userLeaf(userCa, 'mallory') }),
    ],
    [
      'somebody who guesses a stream',
      /unknown stream/,
      () => Promise.resolve({ said: { sid: 'A'.repeat(22) } }),
    ],
  ])('%s', async (_who, reason, broken) => {
    const refusal = await resume(await ask(await broken()))
    expect(refusal).toMatchObject({
      code: 'ERR_STREAM_RESET',
      message: 'The stream cannot be resumed',
    })
    expect(refusal?.reason).toMatch(reason)
    expect(refusal?.user).toBeDefined()
    expect(stream.broken).toBe(true)
  })

  test('the same user without the key: a stolen certificate is not enough', async () => {
    const refusal = await resume(await ask(), 1, Buffer.alloc(32))
    expect(refusal).toMatchObject({ code: 'ERR_STREAM_RESET', user: 'alice' })
    expect(refusal?.reason).toMatch(/proof does not hold/)
    expect(stream.broken).toBe(true)
    // Nor does it cost the owner the stream.
    expect(await resume(await ask())).toBeUndefined()
  })

  test('a user who is locked by now', async () => {
    allowed = false
    expect(await resume(await ask())).toMatchObject({
      code: 'ERR_ACCESS_DENIED',
      reason: expect.stringContaining('user locked') as string,
      user: 'alice',
    })
    expect(stream.broken).toBe(true)
  })

  test('a certificate of another CA', async () => {
    const stranger = await userLeaf(await makeCa('other CA'))
    expect(await resume(await ask({ identity: stranger }))).toMatchObject({
      code: 'ERR_PROOF_INVALID',
      user: undefined,
    })
  })

  test('a request that was recorded and is played again', async () => {
    const open = await ask()
    expect(await resume(open)).toBeUndefined()
    expect(await resume(open)).toMatchObject({
      code: 'ERR_PROOF_INVALID',
      reason: expect.stringMatching(/replayed/) as string,
    })
  })

  test('anybody, once the window is over or the service ended the stream', async () => {
    clock.advance(LIMITS.resumeWindow.value)
    expect(stream.state).toBe('closed')
    expect(await resume(await ask())).toMatchObject({
      reason: expect.stringMatching(/unknown stream/) as string,
    })
  })

  test('anybody who does not prove it in time', async () => {
    const { opening, offered } = await leg()
    const answered = streams.resume(offered, await ask())
    await opening
    clock.advance(LIMITS.handshakeTimeout.value)
    expect((await answered)?.error.code).toBe('ERR_TIMEOUT')
  })
})
