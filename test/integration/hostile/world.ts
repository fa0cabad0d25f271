/**
 * A cluster as an operator runs it, each part a process of its own, with an honest user who goes on while others attack, and what
 * attackers need: identities that are valid and write what they like.
 */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect } from 'vitest'
import { openIdentityStore } from '../../../agent/identity/store.ts'
import { listenApp, type AppListener } from '../../../cli/connect/app.ts'
import { credentialOf, loadProfile, type StoredProfile } from '../../../cli/connect/profile.ts'
import { openProxySession, type ProxySession } from '../../../cli/connect/session.ts'
import { trustOf } from '../../../cli/connect/trust.ts'
import { routeAnswer } from '../../../core/api/route.ts'
import { systemClock } from '../../../core/clock.ts'
import { systemRandom } from '../../../core/random.ts'
import type { OwnIdentity } from '../../../core/tunnel/handshake.ts'
import type { TunnelPurpose } from '../../../core/tunnel/handshake-messages.ts'
import { encodeOpen, signOffer } from '../../../core/tunnel/open.ts'
import { apiClient } from '../../../net/http-client.ts'
import {
  rawTunnel,
  targetOf,
  watchMemory,
  type RawTunnel,
  type Target,
} from '../../support/hostile.ts'
import { served, type Part, type Served, type ServedProxy } from '../../support/served.ts'

export const times = <T>(n: number, make: (i: number) => T): T[] =>
  Array.from({ length: n }, (_, i) => make(i))

/** A TCP server on loopback, as a target of apps. */
export async function tcpTarget(
  serve: (socket: Socket) => void,
  options: { readonly pauseOnConnect?: boolean } = {},
): Promise<{ readonly port: number; close(): void }> {
  const sockets = new Set<Socket>()
  const server: Server = createServer(options, (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    serve(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** MiB that each process came to hold at most during an attack. */
export interface Cost {
  readonly proxy: number
  readonly agent: number
}

export interface HostileWorld {
  readonly cluster: Served
  readonly proxy: ServedProxy
  readonly agent: Part
  readonly target: Target
  readonly profile: StoredProfile
  readonly session: ProxySession
  /** Runs the attack while the honest user speaks. The attack may wait for `rounds` more words to be spoken. */
  under(attack: (rounds: (n: number) => Promise<void>) => Promise<void>): Promise<Cost>
  /** A tunnel of the agent `bad`, whose identity is in the attacker's hands. */
  asAgent(): Promise<RawTunnel>
  /** A tunnel of a user who has every right, and no manners. */
  asUser(): Promise<RawTunnel>
  raw(purpose: TunnelPurpose, identity: OwnIdentity): Promise<RawTunnel>
  /** OPENs that the proxy passes on: a real route, a real offer each. */
  openTo(app: string): Promise<() => Promise<Buffer>>
  close(): Promise<void>
}

/** `apps`: ports of targets that agent `good` serves, by name, beside `echo`. */
export async function hostileWorld(
  apps: Readonly<Record<string, number>> = {},
): Promise<HostileWorld> {
  const echo = await tcpTarget((socket) => socket.pipe(socket))
  const cluster = await served()
  const proxy = await cluster.proxy('proxy-1')
  await cluster.knows([proxy.address])
  const target = targetOf(proxy.address)
  const serving = (ports: Readonly<Record<string, number>>) => ({
    app_service: {
      enabled: true,
      apps: Object.entries(ports).map(([name, port]) => ({ name, uri: `tcp://127.0.0.1:${port}` })),
    },
  })
  const agent = await cluster.agent('good', {
    type: 'app',
    services: serving({ echo: echo.port, ...apps }),
  })
  const bad = await cluster.agent('bad', { type: 'app', services: serving({ trap: echo.port }) })
  // Its identity is what the attacker got hold of.
  bad.signal('SIGTERM')
  await bad.exited
  const profile = await loadProfile(join(cluster.dataDir, 'profile'))
  const session = openProxySession({ profile })
  const app: AppListener = await listenApp({ session, name: 'echo' })
  const honest = connect(app.port, '127.0.0.1')
  honest.on('error', () => undefined)

  /** One word there and back, through the honest user's stream. One after the other. */
  function spoken(word: string): Promise<string> {
    return new Promise((resolve, reject) => {
      let heard = ''
      const cut = (): void => reject(new Error('the honest user was cut'))
      const listen = (bytes: Buffer): void => {
        heard += bytes.toString()
        if (heard.length < word.length) return
        honest.off('close', cut).off('data', listen)
        resolve(heard)
      }
      honest.once('close', cut).on('data', listen)
      honest.write(word)
    })
  }
  /** A new stream of the honest user, too. */
  async function reachable(): Promise<void> {
    const socket = connect(app.port, '127.0.0.1')
    const back = new Promise<string>((resolve, reject) => {
      socket.once('data', (b: Buffer) => resolve(b.toString()))
      socket.once('close', () => reject(new Error('refused')))
    })
    socket.write('new')
    expect(await back).toBe('new')
    socket.destroy()
  }
  const raw: HostileWorld['raw'] = (purpose, identity) =>
    rawTunnel({ target, ca: profile.hostCas, cluster: profile.cluster, identity, purpose })

  expect(await spoken('hello')).toBe('hello')
  return {
    ...{ cluster, proxy, agent, target, profile, session, raw },

    async under(attack) {
      const peaks = { proxy: watchMemory(proxy.pid), agent: watchMemory(agent.pid) }
      let over = false
      let words = 0
      const waiting: { until: number; go: () => void }[] = []
      const rounds = (n: number): Promise<void> =>
        new Promise((go) => void waiting.push({ until: words + n, go }))
      const attacked = attack(rounds).finally(() => (over = true))
      attacked.catch(() => undefined)
      while (!over) {
        expect(await spoken('still here')).toBe('still here')
        words += 1
        for (const one of waiting.filter(({ until }) => words >= until)) {
          waiting.splice(waiting.indexOf(one), 1)
          one.go()
        }
        await Promise.race([attacked, new Promise((resolve) => setImmediate(resolve))])
      }
      await attacked
      await reachable()
      expect(words).toBeGreaterThan(0)
      return { proxy: peaks.proxy(), agent: peaks.agent() }
    },

    async asAgent() {
      const store = await openIdentityStore(join(cluster.home.dir, 'bad'), systemRandom)
      const held = await store.load('app')
      if (!held) throw new Error('bad has not joined')
      return raw('agent', held)
    },
    asUser: () => raw('user', credentialOf(profile)),

    async openTo(name) {
      const identity = credentialOf(profile)
      const api = apiClient({
        baseUrl: profile.api,
        trust: trustOf(profile),
        identity: () => identity,
        cluster: profile.cluster,
      })
      const resource = { kind: 'app' as const, name }
      const { route } = routeAnswer.parse(await api.request('POST', '/v1/routes', resource))
      api.close()
      return async () => {
        const offer = await signOffer({
          cluster: profile.cluster,
          route,
          kind: 'app',
          resource,
          identity,
          now: systemClock.now(),
        })
        return encodeOpen({ v: 1, kind: 'app', route, offer: offer.jws })
      }
    },

    async close() {
      honest.destroy()
      await app.close()
      session.close()
      echo.close()
      await cluster.close()
    },
  }
}
