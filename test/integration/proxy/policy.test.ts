// Locks and roles reach every agent through the proxy within two seconds, and only as the policy key signed them.
import { expect, test, onTestFinished } from 'vitest'
import { jwsSign, untrustedJwsHeader } from '../../../core/certs/jws.ts'
import { generateKey, keySigner } from '../../../core/certs/signer.ts'
import { POLICY_TYP } from '../../../core/api/policy.ts'
import { plus, systemClock } from '../../../core/clock.ts'
import { newId } from '../../../core/ids.ts'
import { LIMITS } from '../../../core/limits.ts'
import { systemRandom } from '../../../core/random.ts'
import { decodeOpen } from '../../../core/tunnel/open.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import { handClock } from '../../support/clock.ts'
import { proxyWorld, type World, type WorldOptions } from '../../support/proxy-world.ts'
import { collect, echo, offers } from '../../support/streams.ts'

async function world(options: WorldOptions): Promise<World> {
  const made = await proxyWorld(options)
  onTestFinished(() => made.close())
  return made
}

interface Pushed {
  readonly typ: unknown
  readonly hint: number | undefined
  readonly proxies: number | undefined
  readonly claims: { readonly version: number }
}
/** An agent that takes what is pushed, and echoes everything else. */
async function agent(w: World, id = w.agentId()) {
  const pushed = offers<Pushed>()
  const onOpen = (stream: TunnelStream, payload: Buffer): void => {
    const open = decodeOpen(payload)
    stream.accept()
    if (open.kind !== 'policy') return echo(stream)
    void collect(stream).then((bytes) => {
      stream.end()
      const jws = bytes.toString('latin1')
      const claims = Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString('utf8')
      pushed.push({
        typ: untrustedJwsHeader(jws, LIMITS.policySize.value)['typ'],
        hint: open.hint,
        proxies: open.proxies,
        claims: JSON.parse(claims) as { version: number },
      })
    })
  }
  const ended: { resolve?: (code: string | undefined) => void } = {}
  const over = new Promise<string | undefined>((resolve) => (ended.resolve = resolve))
  const tunnel = await w.dial({
    leaf: await w.agentLeaf(id),
    onOpen,
    onClose: (err) => ended.resolve?.(err?.code),
  })
  return { id, tunnel, over, next: () => pushed.next() }
}
async function user(w: World, name = 'alice', roles = ['access']) {
  const leaf = await w.userLeaf(name, roles)
  const ended: { resolve?: (code: string | undefined) => void } = {}
  const over = new Promise<string | undefined>((resolve) => (ended.resolve = resolve))
  const tunnel = await w.dial({
    leaf,
    purpose: 'user',
    onClose: (err) => ended.resolve?.(err?.code),
  })
  return { leaf, tunnel, over }
}

test('a new agent gets the policy and the freshness stamp at once', async () => {
  const w = await world({ clock: handClock() })
  const { next } = await agent(w)
  expect(await next()).toMatchObject({ typ: 'postern-policy+jws', hint: 1, claims: { version: 1 } })
  expect(await next()).toMatchObject({ typ: 'postern-fresh+jws', claims: { version: 1 } })
})

test('an agent hears of a second proxy with the next look at the leases, not with the next stamp', async () => {
  const clock = handClock()
  const w = await world({ clock })
  const { next } = await agent(w)
  await next()
  expect(await next()).toMatchObject({ typ: 'postern-fresh+jws', proxies: 1 })
  await w.presence.renewLease({
    proxyId: newId('proxy', clock.now(), systemRandom),
    bootId: 'another',
    address: '127.0.0.1:2',
    peerAddress: '127.0.0.1:2',
    tunnels: 0,
    expires: plus(clock.now(), LIMITS.leaseTtl.value),
  })
  clock.advance(LIMITS.leaseRenew.value)
  expect(await next()).toMatchObject({ typ: 'postern-fresh+jws', proxies: 2 })
})

test('a change reaches every agent; without one only the stamp is sent, every minute', async () => {
  const clock = handClock()
  const w = await world({ clock })
  const agents = await Promise.all([agent(w), agent(w), agent(w)])
  for (const { next } of agents) {
    await next()
    await next()
  }
  w.lock({ kind: 'user', user: 'mallory' })
  clock.advance(1_000)
  for (const { next } of agents) {
    expect(await next()).toMatchObject({ typ: 'postern-policy+jws', claims: { version: 2 } })
    expect((await next()).typ).toBe('postern-fresh+jws')
  }
  const asked = w.fetches()
  for (let i = 0; i < LIMITS.policyFreshness.value / 1_000; i++) {
    clock.advance(1_000)
    // A round trip, so that the network keeps up with the clock.
    await Promise.all(agents.map(({ tunnel }) => tunnel.session.ping()))
  }
  for (const { next } of agents) expect((await next()).typ).toBe('postern-fresh+jws')
  expect(w.fetches()).toBe(asked)
})

test('a lock cuts the tunnels it strikes and leaves the others, within two seconds of the change', async () => {
  const w = await world({ clock: systemClock })
  const [good, bad] = await Promise.all([agent(w), agent(w)])
  const [alice, bob] = await Promise.all([user(w), user(w, 'bob')])
  const stream = await w.open(alice, [good.id])
  const cut = new Promise((resolve) => (stream.onclose = resolve))
  stream.start()
  const began = performance.now()
  w.lock({ kind: 'user', user: 'alice' })
  w.lock({ kind: 'agent', agent: bad.id })
  expect(await Promise.all([alice.over, bad.over])).toEqual(['ERR_LOCKED', 'ERR_LOCKED'])
  await cut
  expect(performance.now() - began).toBeLessThan(2_000)
  expect(good.tunnel.session.closed).toBe(false)
  expect(bob.tunnel.session.closed).toBe(false)
  const after = await w.open(bob, [good.id])
  after.reset()
  expect(w.proxy.stats().tunnelsCut).toBe(2)
})

test('a lock on a role cuts who has the role in force, not who has it in the certificate only', async () => {
  const clock = handClock()
  const w = await world({ clock })
  const [holder, former] = await Promise.all([
    user(w, 'alice', ['access']),
    user(w, 'bob', ['ops', 'access']),
  ])
  w.lock({ kind: 'role', role: 'ops' })
  clock.advance(1_000)
  await w.log.seen('proxy.policy', ({ fields }) => fields['version'] === 2)
  expect(former.tunnel.session.closed).toBe(false)
  w.lock({ kind: 'role', role: 'access' })
  clock.advance(1_000)
  expect(await Promise.all([holder.over, former.over])).toEqual(['ERR_LOCKED', 'ERR_LOCKED'])
})

// Attack: whoever can answer for the control plane tries to free a locked user or to swap the CAs.
test('a policy that the policy key did not sign changes nothing', async () => {
  const clock = handClock()
  const forger = keySigner(generateKey().privateKey)
  const w = await world({
    clock,
    start: false,
    deps: {
      policy: {
        policy: async () => ({
          policy: await jwsSign(
            forger,
            { typ: POLICY_TYP },
            { cluster: 'demo.postern', version: 9, locks: [], users: {}, cas: {} },
          ),
          freshness: 'a.b.c',
        }),
        freshness: async () => 'a.b.c',
      },
    },
  })
  await w.proxy.start()
  await w.log.seen('proxy.policy_not_fetched')
  expect(w.proxy.stats().policyVersion).toBe(0)
  await w.dial({ leaf: await w.agentLeaf(w.agentId()) })
})

test('an agent that reads nothing holds up no other agent', async () => {
  const clock = handClock()
  const w = await world({ clock })
  await w.dial({ leaf: await w.agentLeaf(w.agentId()), onOpen: () => undefined })
  const other = await agent(w)
  expect((await other.next()).typ).toBe('postern-policy+jws')
  await other.next()
  w.lock({ kind: 'user', user: 'mallory' })
  clock.advance(1_000)
  expect(await other.next()).toMatchObject({ claims: { version: 2 } })
})

// What it stops: whoever copied the credential of a service that was removed, and dials in with it while the certificate still runs.
test('a service that left its agent is cut within two seconds and let in no more, until it joins anew', async () => {
  const clock = handClock()
  const w = await world({ clock })
  const id = w.agentId()
  const issued = clock.now()
  const old = await w.agentLeaf(id)
  let end: (code: string | undefined) => void = () => undefined
  const over = new Promise<string | undefined>((resolve) => (end = resolve))
  await w.dial({ leaf: old, onClose: (err) => end(err?.code) })
  const other = await w.agentLeaf(id, 'app')
  const kept = await w.dial({ leaf: other })

  const expires = plus(issued, LIMITS.agentCertTtl.value)
  w.presence.departures.push({ agentId: id, service: 'ssh', until: issued, expires })
  clock.advance(LIMITS.policyPoll.value)
  expect(await over).toBe('ERR_LOCKED')
  await expect(w.dial({ leaf: old })).rejects.toMatchObject({ code: 'ERR_LOCKED' })
  expect(w.log.entries.filter(({ event }) => event === 'proxy.tunnel_cut')).toHaveLength(1)
  expect(kept.session.closed).toBe(false)
  await w.dial({ leaf: other })
  await w.dial({ leaf: await w.agentLeaf(id) })
})
