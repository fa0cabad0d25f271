// Several agents serve one resource and one falls silent without closing anything: users hardly notice.
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../../core/clock.ts'
import { decodeOpen } from '../../../core/tunnel/open.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import { freezer } from '../../support/freezer.ts'
import { failure } from '../../support/pki.ts'
import { proxyWorld } from '../../support/proxy-world.ts'
import { collect } from '../../support/streams.ts'

const accept = (stream: TunnelStream, payload: Buffer): void => {
  stream.accept()
  if (decodeOpen(payload).kind === 'policy')
    void collect(stream).then(
      () => stream.end(),
      () => undefined,
    )
}

test('a stream for a silent agent goes to another within about a second, later ones at once', async () => {
  const world = await proxyWorld({ clock: systemClock })
  onTestFinished(() => world.close())
  const firewall = await freezer(world.address)
  onTestFinished(() => firewall.close())
  world.ways.push(firewall.address)

  const [silent, healthy] = [world.agentId(), world.agentId()]
  await world.dial({ leaf: await world.agentLeaf(silent), onOpen: accept, via: firewall.address })
  await world.dial({ leaf: await world.agentLeaf(healthy), onOpen: accept })
  const leaf = await world.userLeaf()
  const caller = { leaf, tunnel: await world.dial({ leaf, purpose: 'user' }) }
  const route = await world.route([silent, healthy])
  await world.open(caller, [], route)
  firewall.freeze()

  const times: number[] = []
  for (let i = 0; i < 12; i++) {
    const began = performance.now()
    const stream = await world.open(caller, [], route)
    times.push(performance.now() - began)
    stream.reset()
  }
  expect(Math.max(...times)).toBeLessThan(2_000)
  // Once it is known to be silent nobody is sent there; at most the first stream of the twelve waited.
  expect(times.filter((ms) => ms > 500).length).toBeLessThanOrEqual(1)
  expect(world.proxy.stats().agentTunnels).toBe(2)
})

test('alone, a silent agent is still asked: it may only be slow', async () => {
  const world = await proxyWorld({
    clock: systemClock,
    deps: { tunnelLimits: { openTimeout: 1_500 } },
  })
  onTestFinished(() => world.close())
  const firewall = await freezer(world.address)
  onTestFinished(() => firewall.close())
  world.ways.push(firewall.address)
  const id = world.agentId()
  await world.dial({ leaf: await world.agentLeaf(id), onOpen: accept, via: firewall.address })
  const leaf = await world.userLeaf()
  const tunnel = await world.dial({ leaf, purpose: 'user' })
  firewall.freeze()
  expect((await failure(() => world.open({ leaf, tunnel }, [id])))?.code).toBe('ERR_TIMEOUT')
})
