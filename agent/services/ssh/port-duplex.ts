/** A link between two threads as a Duplex, for ssh2. Half-close is kept. */
import { Duplex } from 'node:stream'
import type { MessagePort } from 'node:worker_threads'
import { PortLink, type Taken } from './port-link.ts'

export function portDuplex(port: MessagePort): Duplex {
  const link = new PortLink(port)
  const queue: { readonly bytes: Buffer; readonly taken: Taken }[] = []
  let blocked: (() => void) | undefined
  let wanted = false
  let peer: 'open' | 'ended' | 'told' = 'open'

  function deliver(): void {
    while (wanted) {
      const next = queue.shift()
      if (!next) break
      // The reader may keep it.
      next.taken(false)
      wanted = duplex.push(next.bytes)
    }
    if (peer !== 'ended' || queue.length > 0) return
    peer = 'told'
    duplex.push(null)
  }
  const put = (chunks: readonly Buffer[], done: () => void): void => {
    let room = true
    for (const chunk of chunks) room = link.write(chunk)
    if (room) done()
    else blocked = done
  }

  const duplex = new Duplex({
    allowHalfOpen: true,
    highWaterMark: 64 * 1024,
    read() {
      wanted = true
      deliver()
    },
    write(chunk: Buffer, _encoding, done) {
      put([chunk], done)
    },
    writev(chunks, done) {
      put(
        chunks.map(({ chunk }) => chunk as Buffer),
        done,
      )
    },
    final(done) {
      link.end()
      done()
    },
    destroy(error, done) {
      if (error || peer === 'open' || !duplex.writableFinished)
        link.reset(error?.message ?? 'closed')
      else link.close()
      done(error)
    },
  })

  link.ondata = (bytes, taken) => {
    queue.push({ bytes, taken })
    deliver()
  }
  link.ondrain = () => {
    const go = blocked
    blocked = undefined
    go?.()
  }
  link.onend = () => {
    peer = 'ended'
    deliver()
  }
  // What was sent before the other side went is still read.
  link.onclose = () => {
    if (peer === 'open' || duplex.readableEnded) duplex.destroy()
    else duplex.once('end', () => duplex.destroy())
  }
  return duplex
}
