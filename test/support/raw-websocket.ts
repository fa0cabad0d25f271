/** A tunnel whose WebSocket is written by hand too: after an honest handshake, every byte inside TLS is the test's. */
import type { TLSSocket } from 'node:tls'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { systemClock } from '../../core/clock.ts'
import { systemRandom } from '../../core/random.ts'
import {
  checkChallenge,
  dialledAddress,
  makeHello,
  makeProof,
  type OwnIdentity,
} from '../../core/tunnel/handshake.ts'
import {
  decodeChallenge,
  decodeWelcome,
  encodeMessage,
  type HandshakeMessage,
} from '../../core/tunnel/handshake-messages.ts'
import { FrameReader } from '../../net/websocket/frame-reader.ts'
import { upgraded, wsFrame, type Target } from './hostile.ts'
import { offers } from './streams.ts'

export interface RawWebSocket {
  /** Under it is TCP without delay: each write is a TLS record of its own. */
  readonly socket: TLSSocket
  /** Tunnel frames of the proxy. */
  onData: ((bytes: Buffer) => void) | undefined
  /** The code of its close frame, 1006 if it said none. */
  readonly closed: Promise<number>
}

/** As one binary message in fragments of one byte each. */
export const inFragments = (bytes: Buffer): Buffer =>
  Buffer.concat(
    [...bytes].map((byte, i) =>
      wsFrame({
        opcode: i === 0 ? 2 : 0,
        fin: i === bytes.length - 1,
        length: 1,
        payload: Buffer.from([byte]),
      }),
    ),
  )

export async function rawWebSocket(options: {
  readonly target: Target
  readonly ca: readonly string[]
  readonly cluster: string
  readonly identity: OwnIdentity
}): Promise<RawWebSocket> {
  const { target, cluster, identity } = options
  const { socket, said } = await upgraded(target)
  if (!said.includes('101')) throw new Error(said)
  socket.setNoDelay(true)
  const texts = offers<Buffer>()
  let over: (code: number) => void = () => undefined
  const raw: RawWebSocket = {
    socket,
    onData: undefined,
    closed: new Promise((resolve) => (over = resolve)),
  }
  const reader = new FrameReader(
    {
      binary: (piece) => raw.onData?.(piece),
      text: (message) => texts.push(message),
      ping: () => undefined,
      close: (code) => over(code),
    },
    { masked: false, messageMax: 1 << 20, textMax: 1 << 16 },
  )
  socket.on('data', (bytes: Buffer) => void reader.push(bytes))
  socket.once('close', () => over(1006))
  const send = (message: HandshakeMessage): void => {
    const payload = Buffer.from(encodeMessage(message))
    socket.write(wsFrame({ opcode: 1, fin: true, length: payload.length, payload }))
  }
  const url = new URL(`wss://${target.host}:${target.port}`)
  const hello = makeHello('user', dialledAddress(url), systemRandom)
  send(hello)
  const challenge = decodeChallenge(await texts.next())
  const hostCas = options.ca.map((pem) => readCertificate(pem))
  checkChallenge(hello, challenge, { cluster, hostCas, now: systemClock.now() })
  send(await makeProof(hello, challenge, identity))
  decodeWelcome(await texts.next())
  return raw
}
