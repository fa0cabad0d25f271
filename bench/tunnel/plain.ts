/** The baseline: one WebSocket for each stream, spliced in Node with backpressure, no multiplexer. An empty message is the end. */
import type { Socket } from 'node:net'
import type { RawData, WebSocket } from 'ws'

const HIGH = 262_144

/** `first`: tell the other end to begin. */
export function joinWebSocket(ws: WebSocket, socket: Socket, first: boolean): void {
  if (first) ws.send('begin')
  let ended = 0
  const end = () => {
    if (++ended === 2) ws.close()
  }
  ws.on('message', (data: RawData) => {
    const bytes = data as Buffer
    if (bytes.length === 0) {
      socket.end()
      end()
    } else if (!socket.write(bytes)) ws.pause()
  })
  socket.on('drain', () => ws.resume())
  socket.on('data', (bytes: Buffer) => {
    ws.send(bytes, { binary: true, compress: false }, () => {
      if (ws.bufferedAmount < HIGH && socket.isPaused()) socket.resume()
    })
    if (ws.bufferedAmount >= HIGH) socket.pause()
  })
  socket.on('end', () => {
    ws.send(Buffer.alloc(0))
    end()
  })
  socket.on('error', () => ws.terminate())
  ws.on('error', () => socket.destroy())
  ws.on('close', () => socket.destroySoon())
  socket.resume()
}
