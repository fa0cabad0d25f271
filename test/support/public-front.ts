/**
 * What stands before a control plane in the cloud: HTTPS with a certificate of a public CA, and a hand in between that sees every byte and
 * may answer in the plane's place.
 */
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { LocalControlPlane } from '../../functions/wiring.ts'
import { serverTls } from './tls.ts'

/** `call` is method and path. `honest` asks the control plane. */
export type FrontAnswer = (call: string, honest: () => Promise<Response>) => Promise<Response>

export interface PublicFront {
  /** `127.0.0.1:port`. */
  readonly address: string
  /** PEM of the CA of its certificate. */
  readonly ca: string
  readonly seen: { readonly call: string; readonly headers: string; readonly body: string }[]
  answer: FrontAnswer
  close(): void
}

export async function publicFront(
  plane: () => Pick<LocalControlPlane, 'fetch'>,
): Promise<PublicFront> {
  const tls = await serverTls()
  const seen: PublicFront['seen'] = []
  const state: { answer: FrontAnswer } = { answer: (_call, honest) => honest() }
  const server = createServer(tls.options, (req, res) => {
    void (async () => {
      const parts: Buffer[] = []
      for await (const part of req as AsyncIterable<Buffer>) parts.push(part)
      const body = Buffer.concat(parts).toString('utf8')
      const call = `${req.method ?? ''} ${req.url ?? ''}`
      seen.push({ call, headers: JSON.stringify(req.headers), body })
      const honest = () =>
        plane().fetch(
          new Request(`https://${front.address}${req.url ?? ''}`, {
            method: req.method ?? 'GET',
            headers: Object.entries(req.headers).filter(
              (e): e is [string, string] => typeof e[1] === 'string' && e[0] !== 'connection',
            ),
            ...(body === '' ? {} : { body }),
          }),
          { ip: '192.0.2.7' },
        )
      const given = await state.answer(call, honest)
      res.writeHead(given.status, Object.fromEntries(given.headers))
      res.end(Buffer.from(await given.arrayBuffer()))
    })().catch((e: unknown) => res.destroy(e as Error))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const front: PublicFront = {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    ca: tls.ca,
    seen,
    get answer() {
      return state.answer
    },
    set answer(next) {
      state.answer = next
    },
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
  return front
}
