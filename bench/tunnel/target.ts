/** The target process: the first byte says what to do. `e` echo · `s` swallow, then answer one byte · `g` give BENCH_MIB MiB. */
import { createServer, type AddressInfo, type Socket } from 'node:net'

const BLOCK = Buffer.alloc(262_144, 'postern ')

function give(socket: Socket, bytes: number): void {
  let left = bytes
  const go = () => {
    while (left > 0) {
      left -= BLOCK.length
      if (!socket.write(BLOCK)) return
    }
    socket.off('drain', go)
    socket.end()
  }
  socket.on('drain', go)
  go()
}

const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  socket.on('error', () => undefined)
  socket.once('data', (first: Buffer) => {
    const what = String.fromCharCode(first[0] ?? 0)
    if (what === 'g') give(socket, Number(first.toString('latin1', 1)))
    else if (what === 's') socket.on('end', () => socket.end('.'))
    else {
      if (first.length > 1) socket.write(first.subarray(1))
      socket.pipe(socket)
    }
  })
  socket.resume()
})
server.listen(0, '127.0.0.1', () =>
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`),
)
