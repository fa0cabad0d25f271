/**
 * A cluster of real processes, as an operator runs it: one store, one control plane, several proxies, agents. Each is the command
 * itself with a file of its own; ports are free ones, and a part that comes back comes back at the same one.
 */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { renameSync, watch, writeFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { stringify } from 'yaml'
import { apiClient, type HttpMethod } from '../../net/http-client.ts'
import {
  BIN,
  lineOf,
  postern,
  start,
  temporaryHome,
  type Finished,
  type Home,
} from '../integration/cli/postern.ts'

const HOURS = join(import.meta.dirname, 'hours.mjs')
const HOUR = 3_600_000

export interface Part {
  readonly pid: number
  /** Lines of its log. */
  readonly log: Interface
  /** Everything that it said so far. */
  said(): string
  /** Resolves with the exit code. */
  readonly exited: Promise<number | null>
  signal(name: NodeJS.Signals): void
}
export interface ServedProxy extends Part {
  readonly name: string
  readonly id: string
  /** `host:port` where it listens. */
  readonly address: string
}
export interface ProxyOptions {
  /** Default: a free port of loopback, or where it listened before. */
  readonly listen?: string
  readonly more?: Readonly<Record<string, unknown>>
  /** For the section `postern`. */
  readonly main?: Readonly<Record<string, unknown>>
}
export interface Served {
  readonly home: Home
  readonly store: Part
  readonly api: Part
  /** Where the control plane's metrics are. */
  readonly apiDiag: string
  /** Of the control plane. */
  readonly origin: string
  readonly caPin: string
  /** Data directory of the control plane, and the profile in it. */
  readonly dataDir: string
  readonly sshConfig: string
  run(...args: string[]): Promise<Finished>
  /** The same calls that commands make, as the operator, without the half second that each command takes to start. */
  call(method: HttpMethod, path: string, body: object): Promise<unknown>
  launch(command: string, args: readonly string[], env?: Record<string, string>): ChildProcess
  part(args: readonly string[], ready: RegExp, env?: Record<string, string>): Promise<Part>
  token(type: string): Promise<string>
  /** Starts it, or starts it again with what it had. Resolves when it takes tunnels. */
  proxy(name: string, options?: ProxyOptions): Promise<ServedProxy>
  /** Resolves when it is announced and has a tunnel. */
  agent(name: string, options: AgentOptions): Promise<Part>
  /** Lets hours pass at once for every process, no more of them than it was started behind; see hours.mjs. */
  pass(ms: number): void
  /** Resolves when the profile names exactly these proxies. */
  knows(addresses: readonly string[]): Promise<void>
  close(): Promise<void>
}
export interface AgentOptions {
  /** Where it finds the cluster. Default: the control plane. */
  readonly server?: string
  readonly services: Readonly<Record<string, unknown>>
  readonly type: string
  readonly env?: Record<string, string>
}

/** One process for each proxy, to be quick; POSTERN_TEST_WORKERS=2 for a run in which each has several. */
const WORKERS = Number(process.env['POSTERN_TEST_WORKERS'] ?? 1)

export async function served(
  options: {
    readonly proxies?: readonly string[]
    /** Hours that all its processes are behind the machine's clock. */
    readonly hoursBehind?: number
  } = {},
): Promise<Served> {
  const home = await temporaryHome()
  const dataDir = join(home.dir, 'postern-data')
  const clock = join(home.dir, 'clock')
  let behind = (options.hoursBehind ?? 0) * HOUR
  const setBehind = (ms: number): void => {
    behind = ms
    writeFileSync(`${clock}.new`, String(ms))
    renameSync(`${clock}.new`, clock)
  }
  if (behind > 0) {
    setBehind(behind)
    home.env['POSTERN_TEST_BEHIND'] = clock
    home.env['NODE_OPTIONS'] = `--import=${pathToFileURL(HOURS).href}`
  }
  const children: ChildProcess[] = []
  const file = async (name: string, content: unknown): Promise<string> => {
    const path = join(home.dir, name)
    await writeFile(path, typeof content === 'string' ? content : stringify(content), {
      mode: 0o600,
    })
    return path
  }
  const launch: Served['launch'] = (command, args, env = {}) => {
    const child = start(command, args, { cwd: home.dir, env: { ...home.env, ...env } })
    children.push(child)
    child.stdin?.on('error', () => undefined)
    return child
  }
  const run = (...args: string[]): Promise<Finished> =>
    postern(args, { cwd: home.dir, env: home.env })

  async function part(
    args: readonly string[],
    ready: RegExp,
    env?: Record<string, string>,
  ): Promise<Part> {
    const child = launch(process.execPath, [BIN, ...args], env)
    let text = ''
    const keep = (piece: Buffer): void => void (text += piece.toString())
    child.stdout?.on('data', keep)
    child.stderr?.on('data', keep)
    const log = createInterface(child.stderr ?? process.stdin)
    log.setMaxListeners(0)
    const exited = new Promise<number | null>((resolve) => child.on('close', resolve))
    await lineOf(log, ready).catch(() => {
      throw new Error(`postern ${args.join(' ')} ended\n${text}`)
    })
    return {
      pid: child.pid ?? 0,
      log,
      said: () => text,
      exited,
      signal: (name) => void child.kill(name),
    }
  }

  const base = {
    version: 'v1',
    postern: { data_dir: dataDir },
    store_service: { listen_addr: '127.0.0.1:0' },
  }
  const store = await part(
    ['serve', 'store', '-c', await file('store.yaml', base)],
    /store\.serving/,
  )
  const endpoint = /AWS_ENDPOINT_URL_DYNAMODB=(\S+)/.exec(store.said())?.[1] ?? ''
  const key = (name: string) => ({ endpoint, credentials_file: join(dataDir, name) })
  const api = await part(
    [
      ...['serve', 'api', '-c'],
      await file('api.yaml', {
        ...base,
        postern: { data_dir: dataDir, diag_addr: '127.0.0.1:0' },
        store: key('store-credentials'),
        api_service: {
          listen_addr: '127.0.0.1:0',
          ...(options.proxies && { proxies: options.proxies }),
        },
      }),
    ],
    /api\.serving/,
  )
  const profile = async () =>
    JSON.parse(await readFile(join(dataDir, 'profile', 'profile.json'), 'utf8')) as {
      api: string
      proxies: string[]
      ca_pins: string[]
    }
  const diagPort = /diagnostics\.listening.* port=(\d+)/.exec(api.said())?.[1] ?? ''
  const { api: origin, ca_pins: pins } = await profile()
  const caPin = pins[0] ?? ''
  const listening = new Map<string, string>()

  async function call(method: HttpMethod, path: string, body: object): Promise<unknown> {
    const header = await readFile(join(dataDir, 'operator.header'), 'utf8')
    const bearer = /Bearer (\S+)/.exec(header)?.[1] ?? ''
    // Read anew: CAs rotate.
    const ca = [await readFile(join(dataDir, 'ca.pem'), 'utf8')]
    const client = apiClient({ baseUrl: origin, trust: { system: false, ca }, bearer })
    return client.request(method, path, body).finally(() => client.close())
  }
  async function token(type: string): Promise<string> {
    const minted = await call('POST', '/v1/tokens', { roles: type.split(',') })
    return (minted as { secret: string }).secret
  }

  return {
    home,
    store,
    api,
    apiDiag: `http://127.0.0.1:${diagPort}`,
    origin,
    caPin,
    dataDir,
    sshConfig: join(dataDir, 'profile', 'ssh_config'),
    run,
    call,
    launch,
    part,
    token,
    pass: (ms) => setBehind(behind - ms),
    async proxy(name, { listen, more = {}, main = {} } = {}) {
      const known = listening.get(name)
      const config = await file(`${name}.yaml`, {
        version: 'v1',
        postern: {
          nodename: name,
          data_dir: join(home.dir, name),
          api_server: new URL(origin).host,
          ca_pin: caPin,
          ...(known === undefined && {
            auth_token: await file(`${name}.token`, await token('proxy')),
          }),
          ...main,
        },
        store: key('store-credentials-proxy'),
        proxy_service: { listen_addr: known ?? listen ?? '127.0.0.1:0', workers: WORKERS, ...more },
      })
      const made = await part(['serve', 'proxy', '-c', config], /proxy\.listening/)
      const id = /proxyId=(px_\w+)/.exec(made.said())?.[1] ?? ''
      const port = /proxy\.listening.* port=(\d+)/.exec(made.said())?.[1] ?? ''
      const address = `127.0.0.1:${port}`
      listening.set(name, address)
      return { ...made, name, id, address }
    },
    async agent(name, { server = new URL(origin).host, services, type, env = {} }) {
      const config = await file(`${name}.yaml`, {
        version: 'v1',
        postern: {
          nodename: name,
          data_dir: join(home.dir, name),
          proxy_server: server,
          ca_pin: caPin,
          auth_token: await file(`${name}.token`, await token(type)),
        },
        ...services,
      })
      const made = await part(['agent', 'start', '-c', config], /tunnel\.connected/, env)
      if (!/announce\.done/.test(made.said())) await lineOf(made.log, /announce\.done/)
      return made
    },
    async knows(addresses) {
      const wanted = [...addresses].sort().join()
      // The profile is replaced by renaming, so its directory is what changes.
      const watcher = watch(join(dataDir, 'profile'))
      try {
        for (;;) {
          // Before the look, so that nothing is missed.
          const change = once(watcher, 'change')
          change.catch(() => undefined)
          if ([...(await profile()).proxies].sort().join() === wanted) return
          await change
        }
      } finally {
        watcher.close()
      }
    },
    async close() {
      for (const child of children) if (child.exitCode === null) child.kill('SIGKILL')
      await home.remove()
    },
  }
}
