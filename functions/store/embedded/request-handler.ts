/** Lets the AWS SDK call the engine without a socket: the client's request comes in, the answer goes back as bytes. */
import { serialization, toException } from './exceptions.ts'

interface Request {
  readonly headers: Readonly<Record<string, string>>
  readonly body?: unknown
}
interface Answer {
  readonly statusCode: number
  readonly headers: Record<string, string>
  readonly body: Uint8Array
}

/** What `requestHandler` of a DynamoDBClient needs. */
export interface SdkRequestHandler {
  readonly metadata: { readonly handlerProtocol: string }
  handle(request: Request): Promise<{ response: Answer }>
  updateHttpClientConfig(): void
  httpHandlerConfigs(): Record<string, never>
  destroy(): void
}

/** `op` of `DynamoDB_20120810.op`, and a JSON body; always an answer, never a throw. */
export async function answer(
  handle: (op: string, data: unknown) => Promise<unknown>,
  target: string,
  body: string,
): Promise<{ statusCode: number; text: string }> {
  try {
    let data: unknown
    try {
      data = JSON.parse(body === '' ? '{}' : body)
    } catch {
      throw serialization('The body is not JSON')
    }
    const result = await handle(target.slice(target.indexOf('.') + 1), data)
    return { statusCode: 200, text: JSON.stringify(result) }
  } catch (e) {
    const exception = toException(e)
    return { statusCode: exception.statusCode, text: JSON.stringify(exception.body) }
  }
}

const textOf = (body: unknown): string => {
  if (typeof body === 'string') return body
  return body instanceof Uint8Array
    ? Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8')
    : ''
}

export function createRequestHandler(
  handle: (op: string, data: unknown) => Promise<unknown>,
): SdkRequestHandler {
  return {
    metadata: { handlerProtocol: 'http/1.1' },
    async handle(request) {
      const { statusCode, text } = await answer(
        handle,
        request.headers['x-amz-target'] ?? '',
        textOf(request.body),
      )
      return {
        response: {
          statusCode,
          headers: { 'content-type': 'application/x-amz-json-1.0', 'x-amzn-requestid': 'embedded' },
          body: Buffer.from(text),
        },
      }
    },
    updateHttpClientConfig() {},
    httpHandlerConfigs: () => ({}),
    destroy() {},
  }
}
