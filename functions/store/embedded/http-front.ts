/**
 * The embedded engine over the DynamoDB protocol, on loopback: `postern serve store`. A small HTTP front of our own over the
 * request handler; what a client does to its connection never reaches the engine. Every request is signed; a proxy's key opens
 * a proxy's rows and nothing else, as its IAM role does in AWS.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Clock } from '../../../core/clock.ts'
import { LIMITS } from '../../../core/limits.ts'
import type { Log } from '../../../core/log.ts'
import type { Random } from '../../../core/random.ts'
import type { KeyAccess } from '../key-access.ts'
import { refusedTouches } from '../key-check.ts'
import { isRecord } from './is-record.ts'
import { answer } from './request-handler.ts'
import { signedBy, type StoreKey } from './signed-by.ts'

/** `access` undefined: everything. */
export interface StoreClientKey extends StoreKey {
  readonly access: KeyAccess | undefined
}

export interface HttpFrontDeps {
  handle(op: string, data: unknown): Promise<unknown>
  readonly keys: readonly StoreClientKey[]
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

const TARGET = /^DynamoDB_20120810\.([A-Za-z]{1,40})$/
const CHECK_EVERY_MS = 2000

const refusal = (type: string, message: string): string =>
  JSON.stringify({ __type: `com.amazonaws.dynamodb.v20120810#${type}`, message })

/** The body within its cap; undefined when it was larger or the client went away. */
async function read(request: IncomingMessage): Promise<Buffer | undefined> {
  const parts: Buffer[] = []
  let size = 0
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      size += part.length
      if (size > LIMITS.storeRequest.value) return undefined
      parts.push(part)
    }
  } catch {
    return undefined
  }
  return request.complete ? Buffer.concat(parts) : undefined
}

const parsed = (body: Buffer): Record<string, unknown> => {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'))
    return isRecord(value) ? value : {}
  } catch {
    // The engine says what is wrong with it; no key is touched by it.
    return {}
  }
}

export function createHttpFront(deps: HttpFrontDeps): Server {
  const { keys, clock, random, log } = deps

  async function decide(request: IncomingMessage, body: Buffer): Promise<[number, string]> {
    const signer = signedBy(request.headers, body, keys, clock.now())
    const key = keys.find((one) => one.id === signer?.id)
    if (!key) {
      log.warn('store.refused', { reason: 'the request is not signed by a key of this store' })
      return [400, refusal('UnrecognizedClientException', 'The security token is invalid')]
    }
    const op = TARGET.exec(String(request.headers['x-amz-target']))?.[1]
    if (op === undefined) return [400, refusal('UnknownOperationException', 'Unknown operation')]
    const wrong = key.access ? refusedTouches(key.access, op, parsed(body)) : []
    const [first] = wrong
    if (first) {
      log.warn('store.refused', { key: key.id, operation: op, reason: first.join(' ') })
      return [400, refusal('AccessDeniedException', `${key.id} may not do this`)]
    }
    const { statusCode, text } = await answer(
      (o, data) => deps.handle(o, data),
      op,
      body.toString(),
    )
    return [statusCode, text]
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => undefined)
    const end = (status: number, text: string, last = false): void => {
      response.writeHead(status, {
        'content-type': 'application/x-amz-json-1.0',
        'content-length': Buffer.byteLength(text),
        'x-amzn-requestid': random.bytes(13).toString('hex'),
        ...(last ? { connection: 'close' } : {}),
      })
      response.end(text)
    }
    if (request.method !== 'POST' || request.url !== '/')
      return end(404, refusal('UnknownOperationException', 'Use POST /'), true)
    const body = await read(request)
    if (!body) return end(413, refusal('ValidationException', 'The request is too large'), true)
    end(...(await decide(request, body)))
  }

  const server = createServer(
    {
      maxHeaderSize: LIMITS.httpHeaders.value,
      headersTimeout: LIMITS.handshakeTimeout.value,
      requestTimeout: LIMITS.httpTimeout.value,
      connectionsCheckingInterval: CHECK_EVERY_MS,
    },
    (request, response) => {
      serve(request, response).catch((e: unknown) => {
        log.error('store.failed', { reason: String(e) })
        response.destroy()
      })
    },
  )
  server.on('clientError', (_e, socket) => socket.destroy())
  return server
}
