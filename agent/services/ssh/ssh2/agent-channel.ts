/** Opens an `auth-agent@openssh.com` channel to the client: ssh2 has the message, but no server method that sends it. */
import type { ClientInternals } from './internals.ts'

const WINDOW = 2 * 1024 * 1024
const PACKET = 32 * 1024

export function openAgentChannel(client: ClientInternals): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const opened = (e: Error | undefined, channel: unknown): void =>
      e ? reject(e) : resolve(channel)
    const entry = Object.assign(opened, { type: 'auth-agent@openssh.com' })
    const id = client._chanMgr.add(entry)
    if (id === -1) return reject(new Error('no channel left'))
    client._protocol.openssh_authAgent(id, WINDOW, PACKET)
  })
}
