// Receive windows: what a stream, a connection and a process may be made to hold.
import { describe, expect, test } from 'vitest'
import { createReceiveWindows } from '../../../core/tunnel/receive-windows.ts'
import { TUNNEL_LIMITS } from '../../../core/tunnel/tunnel-limits.ts'
import { createWindowBudget } from '../../../core/tunnel/window-budget.ts'
import { LIMITS } from '../../../core/limits.ts'
import { frame, rawPeer } from '../../support/raw-peer.ts'
import { DATA, PING, REPLY } from '../../../core/tunnel/frame.ts'

const { windowConnection, windowInitial, windowMax, windowMin, streamsPerTunnel } = TUNNEL_LIMITS

describe('admission', () => {
  test('the first streams of a tunnel get the full initial window', () => {
    const windows = createReceiveWindows(TUNNEL_LIMITS, createWindowBudget())
    expect(Array.from({ length: 64 }, () => windows.admit())).toEqual(Array(64).fill(windowInitial))
  })

  test('every stream up to the cap gets at least the minimum, and the sum stays under the cap', () => {
    const windows = createReceiveWindows(TUNNEL_LIMITS, createWindowBudget())
    const sizes = Array.from({ length: streamsPerTunnel }, () => windows.admit() ?? 0)
    expect(Math.min(...sizes)).toBeGreaterThanOrEqual(windowMin)
    expect(sizes.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(windowConnection)
  })

  test('what a closed stream held is free again, in the connection and in the process', () => {
    const budget = createWindowBudget()
    const windows = createReceiveWindows(TUNNEL_LIMITS, budget)
    const sizes = Array.from({ length: 500 }, () => windows.admit() ?? 0)
    for (const size of sizes) windows.release(size)
    expect(budget.left).toBe(LIMITS.windowProcess.value)
    expect(windows.admit()).toBe(windowInitial)
  })

  test('when the process budget is used up a stream still gets its minimum', () => {
    const windows = createReceiveWindows(TUNNEL_LIMITS, createWindowBudget(0))
    expect(windows.admit()).toBe(windowMin)
    expect(windows.grow(windowMin)).toBe(0)
  })
})

describe('growth', () => {
  test('a window doubles up to its cap', () => {
    const windows = createReceiveWindows(TUNNEL_LIMITS, createWindowBudget())
    let size = windows.admit() ?? 0
    for (let i = 0; i < 20; i++) size += windows.grow(size)
    expect(size).toBe(windowMax)
  })

  test('growing streams never take the room that new ones need', () => {
    const windows = createReceiveWindows(TUNNEL_LIMITS, createWindowBudget())
    const sizes = Array.from({ length: 32 }, () => windows.admit() ?? 0)
    for (let round = 0; round < 40; round++)
      sizes.forEach((size, i) => (sizes[i] = size + windows.grow(size)))
    expect(sizes.reduce((a, b) => a + b, 0)).toBeLessThan(windowConnection)
    expect(windows.admit()).toBeGreaterThanOrEqual(windowMin)
  })

  // 256 KiB in flight over 100 ms is 2.6 MB/s: what users of fixed windows see.
  test('a stream whose window is the limit over a long path is granted more, a slow one is not', () => {
    const grantsOver = (gapMs: number): number => {
      const peer = rawPeer()
      peer.turn()
      peer.clock.advance(100)
      for (const f of peer.heard) if (f.type === 'ping') peer.send(frame(PING, REPLY, 0, f.token))
      expect(peer.session.rtt).toBe(100)
      peer.open(1)
      const stream = peer.offered[0]
      stream?.accept()
      if (stream) stream.ondata = (b) => stream.consumed(b.length)
      stream?.start()
      peer.turn()
      const block = Buffer.concat([frame(DATA, 0, 1, 65_536), Buffer.alloc(65_536)])
      for (let i = 0; i < 12; i++) {
        peer.clock.advance(gapMs)
        peer.send(block)
      }
      peer.turn()
      return peer.heard.reduce((sum, f) => sum + (f.type === 'window' ? f.credit : 0), 0)
    }
    expect(grantsOver(1)).toBeGreaterThan(1_400_000)
    expect(grantsOver(150)).toBeLessThanOrEqual(windowInitial + 12 * 65_536)
  })
})

test('credit is given back in quarters of a window, not for each piece', () => {
  const peer = rawPeer()
  peer.open(1)
  const stream = peer.offered[0]
  stream?.accept()
  if (stream) stream.ondata = (b) => stream.consumed(b.length)
  stream?.start()
  peer.turn()
  peer.heard.length = 0
  const piece = Buffer.concat([frame(DATA, 0, 1, 1024), Buffer.alloc(1024)])
  for (let i = 0; i < 63; i++) peer.send(piece)
  peer.turn()
  expect(peer.heard).toEqual([])
  peer.send(piece)
  peer.turn()
  expect(peer.heard).toEqual([{ type: 'window', id: 1, credit: 65_536 }])
})

test('consuming more than was delivered gives the peer no credit it may not have', () => {
  const peer = rawPeer()
  peer.open(1)
  const stream = peer.offered[0]
  stream?.accept()
  stream?.start()
  peer.send(Buffer.concat([frame(DATA, 0, 1, 1000), Buffer.alloc(1000)]))
  stream?.consumed(10_000_000)
  peer.turn()
  const granted = peer.heard.reduce((n, f) => n + (f.type === 'window' ? f.credit : 0), 0)
  expect(granted).toBe(windowInitial)
})

test('nothing is sent without credit, and what waits goes out when it comes', () => {
  const peer = rawPeer()
  peer.open(1)
  const stream = peer.offered[0]
  stream?.accept()
  stream?.start()
  stream?.write(Buffer.alloc(5000))
  peer.turn()
  expect(peer.data).toBe(0)
  peer.send(frame(1, 0, 1, 3000))
  peer.turn()
  expect(peer.data).toBe(3000)
  peer.send(frame(1, 0, 1, 9000))
  peer.turn()
  expect(peer.data).toBe(5000)
})
