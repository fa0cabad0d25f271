/** -R and its unix socket form: listeners on the node, opened with the user's rights, joined to channels of the client. */
import { Socket } from 'node:net'
import type { TcpipBindInfo } from 'ssh2'
import { reasonOf } from '../../../../core/errors.ts'
import { LIMITS } from '../../../../core/limits.ts'
import type { Accepted, Listening } from '../helper-client.ts'
import type { Target } from '../helper/messages.ts'
import { join } from '../ssh2/channel.ts'
import type { Live } from './connection.ts'
import { targetText } from './local-forwards.ts'

type Opened = (e: Error | undefined, channel: unknown) => void
interface Opener {
  forwardOut(host: string, port: number, from: string, fromPort: number, done: Opened): void
  openssh_forwardOutStreamLocal(path: string, done: Opened): void
}
type Request = { readonly socketPath: string } | TcpipBindInfo
type Reply = ((port?: number) => void) | undefined

/** Only ever loopback, as sshd without GatewayPorts: the node does not become a door for its network. */
const loopback = (address: string): string => (address === '::1' ? '::1' : '127.0.0.1')

export function serveRemoteForwards(live: Live): void {
  const { client, link, helper } = live
  const opener = client as unknown as Opener
  const listening = new Map<string, Listening>()
  const sockets = new Set<Socket>()
  live.onNarrowed((grant) => {
    if (grant.remoteForwarding) return
    for (const listener of listening.values()) listener.close()
    for (const socket of sockets) socket.destroy()
    listening.clear()
  })

  function onAccept(
    request: Request,
    port: () => number,
    { fd, host, port: from }: Accepted,
  ): void {
    const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true })
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
    sockets.add(socket)
    const opened: Opened = (e, channel) => {
      if (e) socket.destroy()
      else join(socket, channel, () => sockets.delete(socket))
    }
    live.run('forwarded', () => {
      if ('socketPath' in request) opener.openssh_forwardOutStreamLocal(request.socketPath, opened)
      else opener.forwardOut(request.bindAddr, port(), host, from, opened)
    })
  }

  async function open(request: Request, accept: Reply, reject: Reply): Promise<void> {
    const at: Target =
      'socketPath' in request
        ? { path: request.socketPath }
        : { host: loopback(request.bindAddr), port: request.bindPort }
    const target = targetText(at)
    if (listening.size >= LIMITS.sshForwards.value || listening.has(keyOf(request)))
      return reject?.()
    const answer = await link.ask({ op: 'forward', direction: 'remote', target })
    if (!answer.allow) return reject?.()
    let bound = 0
    try {
      const listener = await helper.listen(at, (accepted) =>
        onAccept(request, () => bound, accepted),
      )
      bound = listener.port ?? 0
      const key = 'socketPath' in request ? keyOf(request) : keyOf({ ...request, bindPort: bound })
      listening.set(key, listener)
      accept?.(bound)
    } catch (e) {
      link.report('session.forward', 'failed', { direction: 'remote', target }, reasonOf(e))
      reject?.()
    }
  }

  function cancel(request: Request, accept: Reply, reject: Reply): void {
    const listener = listening.get(keyOf(request))
    if (!listener) return reject?.()
    listening.delete(keyOf(request))
    listener.close()
    accept?.()
  }

  client.on('request', (accept, reject, name, info) => {
    const request = info as Request
    switch (name as string) {
      case 'tcpip-forward':
      case 'streamlocal-forward@openssh.com':
        return live.run(name, () => open(request, accept, reject))
      case 'cancel-tcpip-forward':
      case 'cancel-streamlocal-forward@openssh.com':
        return live.run(name, () => cancel(request, accept, reject))
      default:
        return reject?.()
    }
  })
}

const keyOf = (request: Request): string =>
  'socketPath' in request ? request.socketPath : `${request.bindAddr}:${request.bindPort}`
