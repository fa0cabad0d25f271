/**
 * A client that no honest one is. Regression tests of upstream reports 1504 (packets of size nought: an endless loop) and
 * 1505 (data beyond the window: unbounded memory), of a stopped reader, and of an offer taken for a proof.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import path from 'node:path'
import type { ClientChannel } from 'ssh2'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { generateKey } from '../../../core/certs/signer.ts'
import { LIMITS } from '../../../core/limits.ts'
import { logIn, type Bent } from './bent-client.ts'
import { ME, NODE, openWorld, type World } from './world.ts'

let world: World
let identity: string
beforeAll(async () => {
  world = await openWorld()
  identity = await world.identity('bent')
})
afterAll(() => world.close())

const exec = (client: Bent, command: string): Promise<ClientChannel> =>
  new Promise((resolve, reject) =>
    client.exec(command, (e, channel) => (e ? reject(e) : resolve(channel))),
  )
const enter = (): Promise<Bent> => logIn(world, identity, { username: ME })

test('a certificate that is only offered lets nobody in', async () => {
  await expect(logIn(world, identity, { username: ME, unsigned: true })).rejects.toThrow()
})

test('a certificate with the signature of another key lets nobody in', async () => {
  const signer = generateKey('EdDSA')
  await expect(logIn(world, identity, { username: ME, signer })).rejects.toThrow()
  const event = await world.ctx.auditedOnce('session.refused', (e) =>
    /signature/.test(e.reason ?? ''),
  )
  expect(event.fields['login']).toBe(ME)
})

// Messages left out of the handshake unnoticed: both ends have to restart their counters, and OpenSSH says when they do.
test('CVE-2023-48795 (Terrapin): OpenSSH and the agent agree on strict key exchange', async () => {
  const { stderr } = await world.ssh(['-vvv', NODE, 'true'])
  expect(stderr).toMatch(/will use strict KEX ordering/)
})

test('mscdex/ssh2#1504, #1505: a channel with packets of size nought is refused, and the next one works', async () => {
  const client = await enter()
  const session = client._protocol.session.bind(client._protocol)
  client._protocol.session = (id, window) => session(id, window, 0)
  await expect(exec(client, 'true')).rejects.toThrow(/packet size too small/)
  client._protocol.session = session
  const [code] = (await once((await exec(client, 'exit 3')).resume(), 'exit')) as [number]
  expect(code).toBe(3)
  client.end()
})

test('mscdex/ssh2#1504, #1505: data beyond the window ends the connection', async () => {
  const client = await enter()
  client.on('error', () => undefined)
  const channel = await exec(client, 'sleep 60')
  const { id } = (channel as unknown as { outgoing: { id: number } }).outgoing
  for (let i = 0; i < 200; i++) client._protocol.channelData(id, Buffer.alloc(32_000))
  await new Promise<void>((resolve) => client.once('close', () => resolve()))
  const event = await world.ctx.auditedOnce('session.refused', (e) => /window/.test(e.reason ?? ''))
  expect(event.reason).toMatch(/more data than the window allows/)
})

test('CVE-2025-22869 (x/crypto): more channels than the limit are refused, the connection lives', async () => {
  const client = await enter()
  const wanted = LIMITS.sshChannels.value + 20
  // In one write: of those that trickle in, the first are refused and gone before the last are there.
  const socket = (client as unknown as { readonly _sock: Socket })._sock
  socket.cork()
  const opened = Promise.allSettled(
    Array.from(
      { length: wanted },
      () =>
        new Promise((resolve, reject) =>
          client.forwardOut('127.0.0.1', 1, '169.254.169.254', 80, (e) =>
            e ? reject(e) : resolve(1),
          ),
        ),
    ),
  )
  socket.uncork()
  const results = await opened
  const reasons = results.map((r) => (r.status === 'rejected' ? String(r.reason) : ''))
  expect(reasons.filter((text) => text.includes('too many channels')).length).toBeGreaterThan(0)
  await once((await exec(client, 'true')).resume(), 'exit')
  client.end()
})

test('CVE-2026-46673 (russh), CVE-2026-39827 (x/crypto): a client with a window of 4 GiB that stops reading fills nobody’s memory', async () => {
  const client = await enter()
  const session = client._protocol.session.bind(client._protocol)
  client._protocol.session = (id, _window, packet) => session(id, 0xffff_ffff, packet)
  const file = path.join(world.dir, 'count')
  const loop = `i=0; while head -c 1000000 /dev/zero; do i=$((i+1)); echo $i > ${file}; done`
  const channel = await exec(client, loop)
  await once(channel, 'data')
  client._sock.pause()
  const seen: number[] = []
  const still = (): boolean => {
    seen.push(Number(readFileSync(file, 'utf8')))
    return seen.length > 3 && seen.at(-1) === seen.at(-4)
  }
  await expect.poll(still, { timeout: 30_000, interval: 300 }).toBe(true)
  // Megabytes: buffers of pipe, channel, worker, relay and TCP together.
  expect(seen.at(-1)).toBeLessThan(40)
  expect(await world.ssh([NODE, 'echo others'])).toMatchObject({ stdout: 'others\n' })
  client.destroy()
})
