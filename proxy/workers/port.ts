/**
 * Calls between the first process of a proxy and its workers, over the channel that Node opens with each of them. Both ends are this
 * program: names and shapes are checked by the compiler, and a failure arrives as the error that it was.
 */
import { AppError, toAppError } from '../../core/errors.ts'
import { isErrorCode } from '../../core/tunnel/reset-reason.ts'

// Functions as they stand in an interface; parameters are checked where they are called.
type Calls<T> = { readonly [K in keyof T]: (...args: never[]) => unknown }
type Answer<F> = F extends (...args: never[]) => infer R ? Awaited<R> : never
type Args<F> = F extends (...args: infer A) => unknown ? A : never

interface ErrorText {
  readonly code: string
  readonly message: string
  readonly internal: string | undefined
}
type Message =
  | { readonly call: number; readonly name: string; readonly args: readonly unknown[] }
  | { readonly answer: number; readonly value?: unknown; readonly error?: ErrorText }

const errorText = (e: unknown): ErrorText => {
  const error = toAppError(e)
  const { code, message, internal } = error
  const cause = error.cause instanceof Error ? error.cause.message : undefined
  return { code, message, internal: internal ?? cause }
}
const errorOf = ({ code, message, internal }: ErrorText): AppError =>
  new AppError(
    isErrorCode(code) ? code : 'ERR_INTERNAL',
    message,
    internal === undefined ? {} : { internal },
  )

export interface Port<Theirs> {
  /** Rejects with what the other side's function threw, or with ERR_TUNNEL_CLOSED when that side is gone. */
  call<K extends keyof Theirs & string>(
    name: K,
    ...args: Args<Theirs[K]>
  ): Promise<Answer<Theirs[K]>>
  /** For every message of the channel. */
  receive(message: unknown): void
  /** The other side is gone. */
  end(): void
}

export function createPort<Theirs extends Calls<Theirs>, Ours extends Calls<Ours>>(deps: {
  /** Throws, or does nothing, when the channel is closed. */
  send(message: object): void
  readonly ours: Ours
}): Port<Theirs> {
  const waiting = new Map<number, { resolve(value: unknown): void; reject(e: AppError): void }>()
  let last = 0
  let over = false

  // A channel that is closed throws: its end is told to every call that waits.
  const answer = (message: Message): void => {
    try {
      deps.send(message)
    } catch {
      // Nobody is there to be told.
    }
  }

  async function serve(call: number, name: string, args: readonly unknown[]): Promise<void> {
    try {
      const fn = (deps.ours as unknown as Record<string, (...given: unknown[]) => unknown>)[name]
      if (!fn) throw new AppError('ERR_INTERNAL', undefined, { internal: `no call ${name}` })
      answer({ answer: call, value: await fn(...args) })
    } catch (e) {
      answer({ answer: call, error: errorText(e) })
    }
  }

  return {
    call: (name, ...args) =>
      new Promise((resolve, reject) => {
        if (over) return reject(gone())
        const call = ++last
        deps.send({ call, name, args })
        waiting.set(call, { resolve: resolve, reject })
      }),
    receive(raw) {
      const message = raw as Message
      if ('call' in message) return void serve(message.call, message.name, message.args)
      const asked = waiting.get(message.answer)
      waiting.delete(message.answer)
      if (message.error) asked?.reject(errorOf(message.error))
      else asked?.resolve(message.value)
    },
    end() {
      over = true
      for (const asked of waiting.values()) asked.reject(gone())
      waiting.clear()
    },
  }
}

const gone = (): AppError => new AppError('ERR_TUNNEL_CLOSED', 'the other process is gone')
