/** An app that answers with what it is sent, and connections to it through the gate that prove they are still the same ones. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import type { Leaping } from '../../support/leaping.ts'

export interface Echo {
  readonly port: number
  close(): void
}

export async function echoServer(): Promise<Echo> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { port: (server.address() as AddressInfo).port, close: () => void server.close() }
}

export interface EchoStream {
  /** Sends the next number; it is back when nothing is left to do. Throws when it is not. */
  beat(): Promise<void>
  readonly beats: number
  readonly open: boolean
  end(): void
}

/** `port`: of the local listener. Open when this resolves: a byte went there and back. */
export async function openStream(port: number, time: Leaping): Promise<EchoStream> {
  const socket = connect({ port, host: '127.0.0.1' })
  let got = ''
  let open = true
  let beats = 0
  socket.setEncoding('latin1')
  socket.on('data', (text: string) => (got += text))
  socket.on('error', () => undefined)
  const closed = new Promise<void>((resolve) => {
    socket.on('close', () => {
      open = false
      resolve()
    })
  })
  const answered = new Promise((resolve) => socket.once('data', resolve))
  await once(socket, 'connect')
  socket.write('hello')
  // The way through the tunnels is not there when the local connection is.
  await time.during(Promise.race([answered, closed]))
  if (got !== 'hello') throw new Error('the stream did not open')
  return {
    get beats() {
      return beats
    },
    get open() {
      return open
    },
    async beat() {
      got = ''
      const sent = `${(beats += 1)};`
      socket.write(sent)
      await time.settled()
      if (got !== sent)
        throw new Error(`beat ${beats}: ${open ? `got '${got}'` : 'the stream has ended'}`)
    },
    end: () => void socket.destroy(),
  }
}
