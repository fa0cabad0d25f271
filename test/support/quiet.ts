/**
 * Tells when this process has nothing left to do: no work in the thread pool, no connection being made, every byte that one end of
 * a loopback connection wrote read by the other, and no callback in the last turns of the event loop. Only a timer can start
 * anything then, so a clock that is moved by hand may go on without overtaking what is still on its way.
 */
import { createHook, executionAsyncResource } from 'node:async_hooks'

/** What libuv or its thread pool owes an answer for; native add-ons name theirs as they like. */
const OWED = /^(FSREQ|FILEHANDLECLOSEREQ|TCPCONNECTWRAP|SHUTDOWNWRAP|GETADDRINFO|classic_level\.)/
/** Jobs of node:crypto; those that run at once have nobody to call back. */
const CRYPTO = /REQUEST$/
/** Turns of the event loop without a callback before it counts as quiet. */
const IDLE_TURNS = 2
/** Longest real time that anything may take before somebody has to look at it, ms. */
const PATIENCE = 60_000

interface TcpHandle {
  readonly bytesRead: number
  readonly bytesWritten: number
  getsockname(out: Address): number
  getpeername(out: Address): number
}
interface Address {
  address?: string
  port?: number
}

export interface Quiet {
  /** Resolves when nothing is left to do. Rejects with what is still owed after a long while. */
  settled(): Promise<void>
  stop(): void
}

export function watchQuiet(): Quiet {
  const owed = new Map<
    number,
    { readonly type: string; readonly job: { ondone?: unknown } | undefined }
  >()
  const handles = new Set<TcpHandle>()
  const names = new Map<TcpHandle, readonly [string, string]>()
  const own = new Set<number>()
  let making = false
  let calls = 0
  let called: (() => void) | undefined
  const hook = createHook({
    init(id, type, _trigger, resource) {
      if (type === 'PROMISE') return
      if (making) return void own.add(id)
      if (type === 'TCPWRAP') handles.add(resource as TcpHandle)
      else if (OWED.test(type)) owed.set(id, { type, job: undefined })
      else if (CRYPTO.test(type) && type !== 'HTTPCLIENTREQUEST')
        owed.set(id, { type, job: resource })
    },
    after(id) {
      // What a promise calls it calls in the turn of whoever settled it.
      if (executionAsyncResource() instanceof Promise) return
      owed.delete(id)
      if (own.delete(id)) return
      calls += 1
      called?.()
    },
  }).enable()

  const turn = (): Promise<void> =>
    new Promise((resolve) => {
      making = true
      setImmediate(resolve)
      making = false
    })

  /** Both ends of a connection, as `local remote`; undefined when it has none or is closed. */
  function nameOf(handle: TcpHandle, resting: boolean): readonly [string, string] | undefined {
    const known = names.get(handle)
    const [local, remote]: [Address, Address] = [{}, {}]
    if (handle.getsockname(local) !== 0 || handle.getpeername(remote) !== 0) {
      // Before it connects it has no peer; afterwards it is closed.
      if (known || resting) handles.delete(handle)
      names.delete(handle)
      return undefined
    }
    if (known) return known
    const [a, b] = [`${local.address}:${local.port}`, `${remote.address}:${remote.port}`]
    const made = [`${a} ${b}`, `${b} ${a}`] as const
    names.set(handle, made)
    return made
  }

  /** A connection of which one end has not read all that the other wrote. */
  function onItsWay(resting = false): string | undefined {
    const ends = new Map<string, TcpHandle>()
    for (const handle of [...handles]) {
      const name = nameOf(handle, resting)
      if (!name) continue
      const other = ends.get(name[1])
      ends.set(name[0], handle)
      if (!other) continue
      if (handle.bytesWritten !== other.bytesRead || other.bytesWritten !== handle.bytesRead)
        return `${name[0]}: wrote ${handle.bytesWritten} read ${handle.bytesRead}, its peer wrote ${other.bytesWritten} read ${other.bytesRead}`
    }
    return undefined
  }

  function jobs(): string[] {
    for (const [id, { job }] of owed) if (job && job.ondone === undefined) owed.delete(id)
    return [...owed.values()].map(({ type }) => type)
  }

  /** Until something comes back to this process: the event loop sleeps meanwhile, instead of taking the time of who works. */
  function someCall(): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        called = undefined
        reject(new Error(`still owed: ${jobs().join()} ${onItsWay() ?? ''}`))
      }, PATIENCE)
      called = () => {
        called = undefined
        clearTimeout(late)
        resolve()
      }
    })
  }

  return {
    async settled() {
      const began = performance.now()
      for (let idle = 0; idle < IDLE_TURNS; idle += 1) {
        const before = calls
        await turn()
        if (calls !== before) idle = -1
        else if (jobs().length > 0 || onItsWay() !== undefined) {
          await someCall()
          idle = -1
        }
        if (performance.now() - began > PATIENCE) throw new Error('it never comes to rest')
      }
      // Nobody is connecting now.
      onItsWay(true)
    },
    stop: () => void hook.disable(),
  }
}
