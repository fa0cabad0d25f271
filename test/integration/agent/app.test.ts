/** An app behind the gate, from a local listener of the user to the target of the agent. Nothing in between is a fake. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openGate, type Gate, type GateAgent } from './gate.ts'
import type { ProxySession } from '../../../cli/connect/session.ts'

function tcpEcho(): Promise<{ server: Server; port: number; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    socket.pipe(socket)
  })
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () =>
      resolve({ server, port: (server.address() as AddressInfo).port, sockets }),
    ),
  )
}

function roundTrip(port: number, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    const parts: Buffer[] = []
    socket.on('data', (part: Buffer) => parts.push(part))
    socket.on('error', reject)
    socket.on('end', () => resolve(Buffer.concat(parts)))
    socket.end(bytes)
  })
}

describe('an app through the gate', () => {
  let gate: Gate
  let target: Awaited<ReturnType<typeof tcpEcho>>
  let running: GateAgent
  let ann: ProxySession

  beforeAll(async () => {
    gate = await openGate()
    target = await tcpEcho()
    running = await gate.start({
      token: await gate.mint(),
      services: `app_service: { enabled: true, apps: [{ name: echo, uri: 'tcp://127.0.0.1:${target.port}', labels: { team: sre } }] }`,
    })
    await running.agent.settled()
    ann = await gate.user('ann', ['access'])
  })
  afterAll(async () => {
    if (process.env['DEBUG']) console.log(JSON.stringify([gate.log.entries, running.log.entries], null, 1))
    await gate.close()
    target.server.close()
  })

  test('the agent joins, comes online and announces what it serves', async () => {
    expect(running.agent.services.get('app')?.state).toBe('online')
    await running.log.seen('announce.done')
    const apps = (await gate.operator.request('GET', '/v1/apps')) as {
      items: { metadata: { name: string; labels: object }; status: { online: boolean } }[]
    }
    expect(apps.items).toMatchObject([
      { metadata: { name: 'echo', labels: { team: 'sre' } }, status: { online: true } },
    ])
  })

  test('bytes and the end of each side pass both ways', async () => {
    const { port } = await gate.listen(ann, 'echo')
    const bytes = Buffer.alloc(3_000_000, 'postern ')
    expect((await roundTrip(port, bytes)).equals(bytes)).toBe(true)
    const end = await gate.event((e) => e.type === 'app.end' && e.actor === 'ann')
    expect(end).toMatchObject({
      outcome: 'ok',
      resource: 'app/echo',
      fields: { bytes_in: bytes.length, bytes_out: bytes.length },
    })
  })
})
