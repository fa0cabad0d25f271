/**
 * Keeps a process from ending while there is something to wait for and nothing open: between two dials an agent has no
 * connection and a ProxyCommand nothing to read, and our timers alone do not keep a process alive.
 */
import { MessageChannel } from 'node:worker_threads'

/** The answer lets go. */
export function stayAwake(): () => void {
  const { port1 } = new MessageChannel()
  port1.ref()
  return () => port1.close()
}
