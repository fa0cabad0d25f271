// Peers that mean harm, against the proxy as an operator runs it: a process of its own. Each test states how much memory the
// attack may cost at its worst, and an honest user goes on all the while.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LIMITS } from '../../../core/limits.ts'
import { createDecoder } from '../../../core/tunnel/codec.ts'
import { header, withPayload } from '../../../core/tunnel/frame.ts'
import { TUNNEL_LIMITS } from '../../../core/tunnel/tunnel-limits.ts'
import { descriptors, ended, tcp, tls, upgraded, wsFrame } from '../../support/hostile.ts'
import { missing } from '../../support/peers.ts'
import { hostileWorld, times, type HostileWorld } from './world.ts'

describe.skipIf(missing('ssh'))('hostile peers of a proxy', { timeout: 120_000 }, () => {
  let world: HostileWorld
  const open: { destroy(): void }[] = []
  const under = async (attack: () => Promise<void>): Promise<number> =>
    (await world.under(attack)).proxy

  beforeAll(async () => {
    world = await hostileWorld()
  }, 180_000)
  afterAll(async () => {
    for (const one of open) one.destroy()
    await world.close()
  })

  test('CVE-2026-7776 (Boundary): 2,000 connections that never speak cost less than 60 MiB and are gone after the deadline', async () => {
    const before = descriptors(world.proxy.pid)
    const cost = await under(async () => {
      for (let i = 0; i < 2000; i += 100)
        open.push(...(await Promise.all(times(100, () => tcp(world.target)))))
      // The kernel answers at once; the proxy takes them in its own time.
      while (descriptors(world.proxy.pid) - before < 1000)
        await new Promise((resolve) => setImmediate(resolve))
      // Of what the kernel dropped in the crush the client hears nothing: it is the proxy that must have let go.
      while (descriptors(world.proxy.pid) - before > 10)
        await new Promise((resolve) => setImmediate(resolve))
    })
    expect(cost).toBeLessThan(60)
  })

  test('headers without end cost less than 20 MiB and are cut', async () => {
    const cost = await under(async () => {
      const sockets = await Promise.all(times(100, () => tls(world.target)))
      const line = `X-More: ${'x'.repeat(1000)}\r\n`
      await Promise.all(
        sockets.map(async (socket) => {
          const over = ended(socket)
          socket.resume()
          socket.write('GET /v1/tunnel HTTP/1.1\r\nHost: x\r\n')
          // Far more than the 16 KiB of the limit, and never an empty line.
          for (let i = 0; i < 300 && !socket.destroyed; i++) socket.write(line)
          await over
        }),
      )
    })
    expect(cost).toBeLessThan(20)
  })

  test('slow handshakes: one source gets its share of slots, the rest 503, and others still come in', async () => {
    const cost = await under(async () => {
      const all = await Promise.all(times(400, () => upgraded(world.target)))
      open.push(...all.map((one) => one.socket))
      const count = (code: string) => all.filter((one) => one.said.includes(code)).length
      // On a busy machine the first may have run out of time, and made room, before the last came.
      expect(count('101')).toBeGreaterThanOrEqual(LIMITS.handshakesPerSource.value)
      expect(count('503')).toBeGreaterThan(0)
      // Now hello, one byte in each fragment, and never the last.
      const slow = all.filter((one) => one.said.includes('101'))
      for (const { socket } of slow) {
        socket.write(wsFrame({ opcode: 1, fin: false, length: 1, payload: Buffer.from('{') }))
        for (let i = 0; i < 500; i++)
          socket.write(wsFrame({ opcode: 0, fin: false, length: 1, payload: Buffer.from(' ') }))
      }
      await Promise.all(slow.map(({ socket }) => (socket.resume(), ended(socket))))
    })
    expect(cost).toBeLessThan(60)
  })

  test('lengths of 4 GB and more are refused by their header, before anybody is known', async () => {
    const cost = await under(async () => {
      for (const length of [2n ** 32n, 2n ** 40n, 2n ** 63n - 1n]) {
        const { socket, said } = await upgraded(world.target)
        expect(said).toContain('101')
        socket.resume()
        socket.write(wsFrame({ opcode: 1, fin: true, length }))
        await ended(socket)
      }
    })
    expect(cost).toBeLessThan(10)
  })

  test('frames that claim 4 GB end the tunnel of whoever sends them', async () => {
    const cost = await under(async () => {
      for (const type of [0, 4, 5, 6, 0x90]) {
        const tunnel = await world.asUser()
        tunnel.write(header(type, 0, type === 0 ? 1 : 3, 0xffff_ffff))
        await tunnel.closed
      }
    })
    expect(cost).toBeLessThan(10)
  })

  test('10,000 half-open streams: a thousand wait, the rest are refused at once, all end with the tunnel', async () => {
    const mute = await world.asAgent()
    const payload = await (await world.openTo('trap'))()
    let refused = 0
    const cost = await under(async () => {
      const tunnel = await world.asUser()
      const count = createDecoder(
        {
          control: (frame) => {
            if (frame.type === 'reset') refused += 1
            return undefined
          },
          dataHeader: () => undefined,
          dataPiece: () => undefined,
          dataEnd: () => undefined,
        },
        TUNNEL_LIMITS,
      )
      const enough = new Promise<void>((resolve) => {
        tunnel.onData = (bytes) => {
          count.push(bytes)
          if (refused >= 10_000 - LIMITS.halfOpenStreams.value) resolve()
        }
      })
      for (let i = 0; i < 10_000; i += 50)
        tunnel.write(...times(50, (n) => withPayload(4, 2 * (i + n) + 1, payload)))
      await Promise.race([enough, tunnel.closed])
      tunnel.close()
    })
    expect(refused).toBeGreaterThanOrEqual(10_000 - LIMITS.halfOpenStreams.value)
    expect(cost).toBeLessThan(110)
    mute.close()
  })

  test('an agent that accepts and never reads: what is sent to it is bounded by windows', async () => {
    const trap = await world.asAgent()
    const accepted = createDecoder(
      {
        control: (frame) => {
          if (frame.type === 'open') trap.write(withPayload(5, frame.id, Buffer.alloc(0)))
          return undefined
        },
        dataHeader: () => undefined,
        dataPiece: () => undefined,
        dataEnd: () => undefined,
      },
      TUNNEL_LIMITS,
    )
    trap.onData = (bytes) => void accepted.push(bytes)
    const next = await world.openTo('trap')
    let answered = 0
    const cost = await under(async () => {
      const tunnel = await world.asUser()
      const credit = new Map<number, number>()
      const chunk = Buffer.alloc(32 * 1024)
      const heard = createDecoder(
        {
          control: (frame) => {
            if (frame.type === 'opened') answered += 1
            if (frame.type === 'ping' && frame.reply) pong()
            if (frame.type === 'window')
              credit.set(frame.id, (credit.get(frame.id) ?? 0) + frame.credit)
            return undefined
          },
          dataHeader: () => undefined,
          dataPiece: () => undefined,
          dataEnd: () => undefined,
        },
        TUNNEL_LIMITS,
      )
      let silent = 0
      let pong: () => void = () => undefined
      /** What was sent before has been taken in there. */
      const echoed = (): Promise<void> =>
        new Promise((resolve) => {
          pong = resolve
          tunnel.write(header(2, 0, 0, 7))
        })
      tunnel.onData = (bytes) => void heard.push(bytes)
      for (let i = 0; i < 64; i++) tunnel.write(withPayload(4, 2 * i + 1, await next()))
      // Sends all that it is given credit for, until there is none for a while.
      while (silent < 20) {
        for (const [id, left] of credit)
          for (let n = left; n >= chunk.length; n -= chunk.length) {
            tunnel.write([header(0, 0, id, chunk.length), chunk])
            credit.set(id, n - chunk.length)
            silent = 0
          }
        silent += 1
        await echoed()
      }
      tunnel.close()
    })
    expect(answered).toBe(64)
    // 64 streams with their first window each way, and what TCP keeps.
    expect(cost).toBeLessThan(120)
    trap.close()
  })

  test('a flood of pings from a peer that reads nothing is cut', async () => {
    const cost = await under(async () => {
      const tunnel = await world.asUser()
      const flood = times(4000, (i) => header(2, 0, 0, i))
      let over = false
      void tunnel.closed.then(() => (over = true))
      for (let i = 0; i < 400 && !over; i++) {
        tunnel.write(...flood)
        await new Promise((resolve) => setImmediate(resolve))
      }
      tunnel.close()
      await tunnel.closed
    })
    expect(cost).toBeLessThan(60)
  })
})
