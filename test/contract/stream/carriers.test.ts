// Every carrier keeps the same promises.
import { memoryPair, tcpPair, unixPair, webSocketPair } from '../../support/transports.ts'
import { streamContract } from './stream-contract.ts'

// POSTERN_TEST_MEGABYTES=1000 for the long run.
const megabytes = Number(process.env['POSTERN_TEST_MEGABYTES'] ?? 40)

streamContract('memory', async () => memoryPair(), megabytes)
streamContract('memory, cut into single bytes and odd pieces', async () => memoryPair(oddly()), 1)
streamContract('TCP', tcpPair, megabytes)
streamContract('a socket of this machine', unixPair, megabytes)
streamContract('a WebSocket inside TLS', webSocketPair, megabytes)

/** 1, 2, 3, 5, 8 … 4181 bytes, again and again: every field of a header gets cut somewhere. */
function oddly(): (n: number) => number {
  let [a, b] = [1, 2]
  return () => {
    ;[a, b] = a > 4000 ? [1, 2] : [b, a + b]
    return a
  }
}
