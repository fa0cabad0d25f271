/** Peers of a proxy that mean harm: connections that stop half way, tunnels whose frames are written by hand. And their cost. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { systemClock } from '../../core/clock.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { LIMITS } from '../../core/limits.ts'
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
  type TunnelPurpose,
} from '../../core/tunnel/handshake-messages.ts'
import type { Transport } from '../../core/tunnel/transport.ts'
import { HandshakeChannel } from '../../net/handshake-channel.ts'
import { upgrade } from '../../net/tunnel-client.ts'
import { TUNNEL_PATH } from '../../net/tunnel-path.ts'

const MiB = 1024 * 1024
const status = (pid: number, field: string): number =>
  Number(new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) *
  1024

/** The most memory that a process comes to hold from now on, above what it holds now. */
export function watchMemory(pid: number): () => number {
  // Documented in proc(5): 5 sets the peak back to what is resident now.
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
  const before = status(pid, 'VmRSS')
  return () => (status(pid, 'VmHWM') - before) / MiB
}

/** Files and sockets that a process has open. */
export const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length

/** Sources other than the honest user's, so that limits of a source strike the attacker alone. */
const FROM = '127.0.0.2'

export interface Target {
  readonly host: string
  readonly port: number
}
export const targetOf = (address: string): Target => {
  const url = new URL(`https://${address}`)
  return { host: url.hostname, port: Number(url.port) }
}

export function tcp({ host, port }: Target): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp({ host, port, localAddress: FROM })
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      socket.on('error', () => undefined)
      resolve(socket)
    })
  })
}

export async function tls(target: Target): Promise<TLSSocket> {
  const carrier = await tcp(target)
  return new Promise((resolve, reject) => {
    const socket = connectTls({ socket: carrier, rejectUnauthorized: false })
    socket.once('error', reject)
    socket.once('secureConnect', () => {
      socket.off('error', reject)
      socket.on('error', () => undefined)
      resolve(socket)
    })
  })
}

/** Resolves when the other end hung up: it must be read to be seen. */
export function ended(socket: Socket): Promise<void> {
  if (socket.destroyed) return Promise.resolve()
  socket.resume()
  return new Promise((resolve) => socket.once('close', () => resolve()))
}

/** The upgrade by hand. Answers the first line of what the proxy said. */
export async function upgraded(target: Target): Promise<{ socket: TLSSocket; said: string }> {
  const socket = await tls(target)
  socket.write(
    [
      `GET ${TUNNEL_PATH} HTTP/1.1`,
      `Host: ${target.host}:${target.port}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
      'Sec-WebSocket-Protocol: postern-tunnel.v1',
      '\r\n',
    ].join('\r\n'),
  )
  const said = await new Promise<string>((resolve) => {
    socket.once('data', (bytes: Buffer) => resolve(bytes.toString('latin1').split('\r\n')[0] ?? ''))
    socket.once('close', () => resolve('closed'))
  })
  return { socket, said }
}

/** A masked WebSocket frame whose header says `length`, whatever follows. */
export function wsFrame(options: {
  readonly opcode: number
  readonly fin: boolean
  readonly length: number | bigint
  readonly payload?: Buffer
}): Buffer {
  const { opcode, fin, length, payload = Buffer.alloc(0) } = options
  const head =
    length > 0xffff
      ? Buffer.concat([Buffer.from([0, 0xff]), u64(BigInt(length))])
      : length > 125
        ? Buffer.from([0, 0xfe, Number(length) >> 8, Number(length) & 255])
        : Buffer.from([0, 0x80 | Number(length)])
  head[0] = (fin ? 0x80 : 0) | opcode
  return Buffer.concat([head, Buffer.alloc(4), payload])
}
function u64(n: bigint): Buffer {
  const b = Buffer.alloc(8)
  b.writeBigUInt64BE(n)
  return b
}

export interface RawTunnel {
  /** Bytes of frames, as they are. */
  write(...frames: readonly (Buffer | readonly Buffer[])[]): void
  /** Bytes that wait to be sent. */
  readonly buffered: number
  readonly closed: Promise<void>
  onData: ((bytes: Buffer) => void) | undefined
  close(): void
}

/** A tunnel of somebody who has proven who he is, and from there on writes what he likes. */
export async function rawTunnel(options: {
  readonly target: Target
  readonly ca: readonly string[]
  readonly cluster: string
  readonly identity: OwnIdentity
  readonly purpose: TunnelPurpose
}): Promise<RawTunnel> {
  const { target, cluster, identity, purpose } = options
  const url = new URL(TUNNEL_PATH, `wss://${target.host}:${target.port}`)
  const trust = { system: false, ca: options.ca, anyProxy: true }
  const { link, head } = await upgrade(url, { trust }, systemClock)
  const channel = new HandshakeChannel(link, systemClock, 10_000, LIMITS.messageMax.value)
  link.start(head)
  const hello = makeHello(purpose, dialledAddress(url), systemRandom)
  channel.send(hello)
  const said = await channel.receive(decodeChallenge)
  const hostCas = options.ca.map((pem) => readCertificate(pem))
  checkChallenge(hello, said, { cluster, hostCas, now: systemClock.now() })
  channel.send(await makeProof(hello, said, identity))
  await channel.receive(decodeWelcome)
  let over: () => void = () => undefined
  const closed = new Promise<void>((resolve) => (over = resolve))
  const transport = channel.become((t: Transport) => {
    t.ondata = (bytes) => tunnel.onData?.(bytes)
    t.onend = () => over()
    return t
  })
  const tunnel: RawTunnel = {
    onData: undefined,
    closed,
    get buffered() {
      return transport.buffered
    },
    write(...frames) {
      const parts = frames.flatMap((f) => (Buffer.isBuffer(f) ? [f] : [...f]))
      transport.writev(
        parts,
        parts.reduce((n, p) => n + p.length, 0),
      )
    },
    close: () => transport.close(),
  }
  return tunnel
}
