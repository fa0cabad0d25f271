// A bug that another system shipped, under its number there: an app's local listener went dead with the proxy that it used.
import { createInterface } from 'node:readline'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BIN, lineOf } from '../cli/postern.ts'
import { served, type Part, type Served, type ServedProxy } from '../../support/served.ts'

describe('68396: under an app listener', () => {
  let cluster: Served
  let agent: Part
  let echo: Server
  let port: number
  const proxies = new Map<string, ServedProxy>()

  const client = async (): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    return socket
  }
  async function says(socket: Socket, text: string): Promise<void> {
    socket.write(text)
    let back = ''
    while (back.length < text.length) back += String((await once(socket, 'data'))[0])
    expect(back).toBe(text)
  }
  /** One connection from beginning to end; answers the proxy that brought it. */
  async function visit(): Promise<ServedProxy> {
    const relayed = [...proxies.values()].map(async (proxy) => {
      await lineOf(proxy.log, /proxy\.stream_relayed/)
      return proxy
    })
    const socket = await client()
    await says(socket, 'short')
    socket.end()
    return Promise.any(relayed)
  }

  beforeAll(async () => {
    echo = createServer((socket) => void socket.pipe(socket)).listen(0, '127.0.0.1')
    await once(echo, 'listening')
    cluster = await served()
    for (const name of ['proxy-1', 'proxy-2']) proxies.set(name, await cluster.proxy(name))
    await cluster.knows([...proxies.values()].map((p) => p.address))
    const uri = `tcp://127.0.0.1:${(echo.address() as AddressInfo).port}`
    agent = await cluster.agent('db-1', {
      type: 'app',
      services: { app_service: { enabled: true, apps: [{ name: 'echo', uri }] } },
    })
    const met = (): number =>
      new Set([...agent.said().matchAll(/tunnel\.connected .*(px_\w+)/g)].map((m) => m[1])).size
    while (met() < 2) await lineOf(agent.log, /tunnel\.connected/)
    const listener = cluster.launch(process.execPath, [
      ...[BIN, 'proxy', 'app', 'echo', '--profile', join(cluster.dataDir, 'profile')],
    ])
    const at = await lineOf(createInterface(listener.stdout ?? process.stdin), /^127\.0\.0\.1:\d+$/)
    port = Number(at.split(':')[1])
  }, 120_000)
  afterAll(async () => {
    await cluster.close()
    echo.close()
  })

  test('a proxy is killed: the next connection works through the other one, and open ones go on', async () => {
    const victim = await visit()
    const kept = await client()
    await says(kept, 'before')
    victim.signal('SIGKILL')
    await victim.exited
    const next = await visit()
    expect(next.name).not.toBe(victim.name)
    await says(kept, 'after')
    kept.destroy()
  }, 90_000)
})
