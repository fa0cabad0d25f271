/** A relay that delays: `relay.ts <port>` passes every byte on after DELAY each way, however many there are. Prints its port. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/** Milliseconds each way. */
const DELAY = 50
/** Bytes held in one direction: more than the path has room for, so that the relay is never the limit. */
const HELD = 64 << 20

function delayed(from: Socket, to: Socket): void {
  let held = 0
  const later = (n: number, act: () => void) => {
    held += n
    if (held > HELD) from.pause()
    setTimeout(() => {
      held -= n
      if (held <= HELD) from.resume()
      act()
    }, DELAY)
  }
  from.on('data', (bytes: Buffer) => later(bytes.length, () => void to.write(bytes)))
  from.on('end', () => later(0, () => void to.end()))
  from.on('error', () => to.destroy())
}

const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  const port = Number(process.argv[2])
  const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  delayed(near, far)
  delayed(far, near)
})
server.listen(0, '127.0.0.1', () =>
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`),
)
