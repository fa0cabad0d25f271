/** -L, -D and their unix socket forms: connections that the client opens through us, dialled with the user's rights. */
import { Socket } from 'node:net'
import { isAppError } from '../../../../core/errors.ts'
import type { Target } from '../helper/messages.ts'
import { refusedAddress } from '../addresses.ts'
import { join } from '../ssh2/channel.ts'
import { OPEN_FAILURE } from '../ssh2/internals.ts'
import { isIP } from 'node:net'
import type { Live } from './connection.ts'

export const targetText = (target: Target): string =>
  'path' in target ? target.path : `${target.host}:${target.port}`

export function serveLocalForwards(live: Live): void {
  const { client, guards, link, helper } = live
  const sockets = new Set<Socket>()
  live.onNarrowed((grant) => {
    if (!grant.localForwarding) for (const socket of sockets) socket.destroy()
  })

  async function forward(target: Target, accept: () => unknown, reject: () => void): Promise<void> {
    const text = targetText(target)
    const answer = await link.ask({ op: 'forward', direction: 'local', target: text })
    if (!answer.allow) return guards.refuseOpen(reject, answer.line)
    let fd: number
    try {
      if ('host' in target && isIP(target.host) && refusedAddress(target.host))
        throw new Error('this address is never forwarded to')
      fd = await helper.connect(target)
    } catch (e) {
      const reason = isAppError(e) || e instanceof Error ? e.message : 'failed'
      link.report('session.forward', 'failed', { direction: 'local', target: text }, reason)
      return guards.refuseOpen(reject, reason, OPEN_FAILURE.connectFailed)
    }
    const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true })
    if ('host' in target) socket.setNoDelay(true)
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    join(socket, accept(), () => sockets.delete(socket))
  }

  client.on('tcpip', (accept, reject, { destIP: host, destPort: port }) =>
    live.run('forward', () => forward({ host, port }, accept, reject)),
  )
  client.on('openssh.streamlocal' as 'tcpip', (accept, reject, info) => {
    const { socketPath: path } = info as unknown as { socketPath: string }
    live.run('forward', () => forward({ path }, accept, reject))
  })
}
