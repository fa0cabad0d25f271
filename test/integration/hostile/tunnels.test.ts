// Peers that have proven who they are and then mean harm, to the proxy and to the agent behind it, both processes of their own. Each
// test states how much memory the attack may cost either of them at its worst; an honest user goes on all the while.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { credentialOf } from '../../../cli/connect/profile.ts'
import { listenApp } from '../../../cli/connect/app.ts'
import { createDecoder } from '../../../core/tunnel/codec.ts'
import {
  DATA,
  header,
  OPEN,
  OPENED,
  PING,
  RESET,
  WINDOW,
  withPayload,
} from '../../../core/tunnel/frame.ts'
import type { ControlFrame } from '../../../core/tunnel/frame.ts'
import { TUNNEL_LIMITS } from '../../../core/tunnel/tunnel-limits.ts'
import { inFragments, rawWebSocket, type RawWebSocket } from '../../support/raw-websocket.ts'
import { wsFrame } from '../../support/hostile.ts'
import { missing } from '../../support/peers.ts'
import { connect, type Socket } from 'node:net'
import { hostileWorld, tcpTarget, times, type HostileWorld } from './world.ts'

/** Hands on each control frame of what it is given. */
function heard(on: (frame: ControlFrame) => void): (bytes: Buffer) => void {
  const decoder = createDecoder(
    {
      control: (frame) => {
        on(frame)
        return undefined
      },
      dataHeader: () => undefined,
      dataPiece: () => undefined,
      dataEnd: () => undefined,
    },
    TUNNEL_LIMITS,
  )
  return (bytes) => void decoder.push(bytes)
}
const data = (id: number, bytes: Buffer): Buffer =>
  Buffer.concat([header(DATA, 0, id, bytes.length), bytes])

describe.skipIf(missing('ssh'))('hostile peers of a tunnel', { timeout: 120_000 }, () => {
  let world: HostileWorld
  const targets: { close(): void }[] = []
  /** Connections that the deaf and the dumb target have; bytes that the endless one has got rid of. */
  let deafened = 0
  let dumbfounded = 0
  let poured = 0

  beforeAll(async () => {
    const deaf = await tcpTarget(() => void (deafened += 1), { pauseOnConnect: true })
    const dumb = await tcpTarget((socket) => {
      dumbfounded += 1
      socket.resume()
    })
    const endless = await tcpTarget((socket) => {
      const chunk = Buffer.alloc(64 * 1024)
      const pour = (): void => {
        while (!socket.destroyed && socket.write(chunk, () => (poured += chunk.length)));
      }
      socket.on('drain', pour)
      pour()
    })
    targets.push(deaf, dumb, endless)
    world = await hostileWorld({ deaf: deaf.port, dumb: dumb.port, endless: endless.port })
  }, 180_000)
  afterAll(async () => {
    for (const target of targets) target.close()
    await world.close()
  })

  const byHand = (): Promise<RawWebSocket> =>
    rawWebSocket({
      target: world.target,
      ca: world.profile.hostCas,
      cluster: world.profile.cluster,
      identity: credentialOf(world.profile),
    })
  /** An agent that says yes to every stream, and reads nothing of it. */
  async function trap(): Promise<{ close(): void }> {
    const agent = await world.asAgent()
    agent.onData = heard((frame) => {
      if (frame.type === 'open') agent.write(withPayload(OPENED, frame.id, Buffer.alloc(0)))
    })
    return agent
  }
  /** Listens for one app and connects `n` times. */
  async function users(
    app: string,
    n: number,
  ): Promise<{ sockets: Socket[]; close(): Promise<void> }> {
    const listener = await listenApp({ session: world.session, name: app })
    const sockets = times(n, () => connect(listener.port, '127.0.0.1'))
    for (const socket of sockets) socket.on('error', () => undefined)
    return {
      sockets,
      async close() {
        for (const socket of sockets) socket.destroy()
        await listener.close()
      },
    }
  }
  /** Resolves when `progress` stands still while the honest user goes round and round. */
  async function stuck(
    progress: () => number,
    rounds: (n: number) => Promise<void>,
  ): Promise<number> {
    for (;;) {
      const before = progress()
      await rounds(100)
      if (progress() === before && before > 0) return before
    }
  }

  test('after the handshake, fragments of one byte: a window of one-byte frames in them costs the proxy less than 45 MiB, the agent less than 20', async () => {
    const agent = await trap()
    const next = await world.openTo('trap')
    const cost = await world.under(async () => {
      const user = await byHand()
      const opened = new Promise<number>((resolve) => {
        user.onData = heard((frame) => frame.type === 'window' && resolve(frame.credit))
      })
      user.socket.write(inFragments(Buffer.concat(withPayload(OPEN, 1, await next()))))
      const credit = await opened
      const one = data(1, Buffer.from('x'))
      const lot = inFragments(Buffer.concat(times(64, () => one)))
      for (let sent = 0; sent + 64 <= credit / 4; sent += 64)
        if (!user.socket.write(lot))
          await new Promise<void>((resolve) => user.socket.once('drain', () => resolve()))
      // Everything was taken as what it is: the tunnel answers.
      const pong = new Promise<void>((resolve) => {
        user.onData = heard((frame) => frame.type === 'ping' && frame.token === 5 && resolve())
      })
      user.socket.write(inFragments(header(PING, 0, 0, 5)))
      await Promise.race([pong, user.closed.then((code) => expect.fail(`closed with ${code}`))])
      user.socket.destroy()
    })
    expect(cost.proxy).toBeLessThan(45)
    expect(cost.agent).toBeLessThan(20)
    agent.close()
  })

  test('after the handshake, one byte in each TLS record and segment: less than 15 MiB', async () => {
    const cost = await world.under(async () => {
      const user = await byHand()
      let pongs = 0
      const all = new Promise<void>((resolve) => {
        user.onData = heard((frame) => {
          if (frame.type === 'ping' && frame.reply && ++pongs === 200) resolve()
        })
      })
      for (let i = 0; i < 200; i++) {
        const message = wsFrame({
          opcode: 2,
          fin: true,
          length: 12,
          payload: header(PING, 0, 0, i),
        })
        for (const byte of message)
          await new Promise<void>((resolve) =>
            user.socket.write(Buffer.from([byte]), () => resolve()),
          )
      }
      await Promise.race([all, user.closed.then((code) => expect.fail(`closed with ${code}`))])
      user.socket.destroy()
    })
    expect(cost.proxy).toBeLessThan(15)
  })

  test.each<[string, number, (user: RawWebSocket) => void]>([
    [
      'a text message',
      4000,
      (user) =>
        user.socket.write(wsFrame({ opcode: 1, fin: true, length: 2, payload: Buffer.from('{}') })),
    ],
    ['a frame without a mask', 1002, (user) => user.socket.write(Buffer.from([0x82, 1, 0]))],
    [
      'a frame that says it is compressed',
      1002,
      (user) => user.socket.write(Buffer.from([0xc2, 0x81, 0, 0, 0, 0, 0])),
    ],
    [
      'a ping above 125 bytes',
      1002,
      (user) =>
        user.socket.write(
          wsFrame({ opcode: 9, fin: true, length: 126, payload: Buffer.alloc(126) }),
        ),
    ],
    [
      'a ping in parts',
      1002,
      (user) =>
        user.socket.write(wsFrame({ opcode: 9, fin: false, length: 1, payload: Buffer.alloc(1) })),
    ],
    [
      'a message of 4 GB',
      1009,
      (user) => user.socket.write(wsFrame({ opcode: 2, fin: true, length: 2n ** 32n })),
    ],
  ])('after the handshake, %s ends the tunnel', async (_name, code, attack) => {
    const user = await byHand()
    attack(user)
    const said = await user.closed
    if (code < 4000) expect(said).toBe(code)
    else expect(said).toBeGreaterThanOrEqual(4000)
    user.socket.destroy()
  })

  test('credit that overflows and data beyond the window end the tunnel of whoever sends them: less than 20 MiB', async () => {
    const agent = await trap()
    const next = await world.openTo('trap')
    const cost = await world.under(async () => {
      for (const attack of ['credit', 'data'] as const) {
        const user = await world.asUser()
        const opened = new Promise<number>((resolve) => {
          user.onData = heard((frame) => frame.type === 'window' && resolve(frame.credit))
        })
        user.write(withPayload(OPEN, 1, await next()))
        const credit = await opened
        if (attack === 'credit')
          user.write(header(WINDOW, 0, 1, 0xffff_ffff), header(WINDOW, 0, 1, 0xffff_ffff))
        else
          for (let sent = 0; sent <= 2 * credit; sent += 32_768)
            user.write(data(1, Buffer.alloc(32_768)))
        await user.closed
      }
    })
    expect(cost.proxy).toBeLessThan(20)
    agent.close()
  })

  // Each asks for signatures to be checked, by the proxy and by the agent, and is taken back before anybody could answer.
  test.each(['real', 'forged'] as const)(
    'CVE-2023-44487 (HTTP/2): 10,000 streams opened with %s routes and reset at once cost the proxy less than 110 MiB, the agent less than 30',
    async (kind) => {
      const open = await (await world.openTo('echo'))()
      const forged = (i: number): Buffer =>
        Buffer.from(
          open.toString('latin1').replace(/\.[\w-]{8}/, `.${String(i).padStart(8, 'A')}`),
          'latin1',
        )
      const cost = await world.under(async () => {
        const user = await world.asUser()
        const pong = new Promise<void>((resolve) => {
          user.onData = heard((frame) => frame.type === 'ping' && frame.reply && resolve())
        })
        for (let i = 0; i < 10_000; i += 100) {
          user.write(
            ...times(100, (n) => [
              ...withPayload(OPEN, 2 * (i + n) + 1, kind === 'real' ? open : forged(i + n)),
              header(RESET, 0, 2 * (i + n) + 1, 0),
            ]),
          )
          // As fast as the proxy takes them.
          while (user.buffered > 1 << 20) await new Promise((resolve) => setImmediate(resolve))
        }
        user.write(header(PING, 0, 0, 1))
        await Promise.race([pong, user.closed])
        user.close()
      })
      expect(cost.proxy).toBeLessThan(110)
      expect(cost.agent).toBeLessThan(30)
    },
  )

  test('300 streams whose TLS never begins cost the agent less than 60 MiB', async () => {
    const next = await world.openTo('echo')
    const cost = await world.under(async () => {
      const user = await world.asUser()
      let opened = 0
      const all = new Promise<void>((resolve) => {
        user.onData = heard((frame) => frame.type === 'opened' && ++opened === 300 && resolve())
      })
      for (let i = 0; i < 300; i++) user.write(withPayload(OPEN, 2 * i + 1, await next()))
      await all
      user.close()
    })
    expect(cost.agent).toBeLessThan(60)
  })

  test('a target that never reads: what 16 users send it is bounded by windows, less than 160 MiB at either end', async () => {
    const cost = await world.under(async (rounds) => {
      const connected = await users('deaf', 16)
      const { sockets } = connected
      const chunk = Buffer.alloc(256 * 1024)
      for (const socket of sockets) {
        const pour = (): void => {
          while (!socket.destroyed && socket.write(chunk));
        }
        socket.on('drain', pour).once('connect', pour)
      }
      const sent = (): number =>
        sockets.reduce((sum, one) => sum + one.bytesWritten - one.writableLength, 0)
      while (deafened < 16) await rounds(10)
      await stuck(sent, rounds)
      await connected.close()
    })
    expect(cost.agent).toBeLessThan(160)
    expect(cost.proxy).toBeLessThan(160)
  })

  test('a target that sends for ever to 16 users who never read: less than 160 MiB at either end', async () => {
    const cost = await world.under(async (rounds) => {
      const connected = await users('endless', 16)
      const { sockets } = connected
      for (const socket of sockets) socket.pause()
      await stuck(() => poured, rounds)
      await connected.close()
    })
    expect(cost.agent).toBeLessThan(160)
    expect(cost.proxy).toBeLessThan(160)
  })

  test('a target that never answers: 200 users who wait for it cost either end less than 60 MiB', async () => {
    const cost = await world.under(async (rounds) => {
      const connected = await users('dumb', 200)
      const { sockets } = connected
      for (const socket of sockets) socket.write('GET / HTTP/1.1\r\nHost: dumb\r\n\r\n')
      // On a busy machine some are refused in time, which is an end as well.
      let refused = 0
      for (const socket of sockets) socket.on('close', () => (refused += 1)).resume()
      while (dumbfounded + refused < 200) await rounds(10)
      expect(dumbfounded).toBeGreaterThan(100)
      await rounds(50)
      await connected.close()
    })
    expect(cost.agent).toBeLessThan(60)
    expect(cost.proxy).toBeLessThan(60)
  })
})
