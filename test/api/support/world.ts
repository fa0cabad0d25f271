/** A control plane over the embedded store in memory, on a hand clock, and the callers that tests act as. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { signRequest } from '../../../core/certs/signed-request.ts'
import { generateKey, keySigner, type Signer } from '../../../core/certs/signer.ts'
import { readCertificate, type Certificate } from '../../../core/certs/x509-read.ts'
import { userCertificates, type UserCertificates } from '../../../core/api/login.ts'
import { plus, systemClock } from '../../../core/clock.ts'
import { newId } from '../../../core/ids.ts'
import { encodeKey } from '../../../core/join/messages.ts'
import { systemRandom } from '../../../core/random.ts'
import {
  createLocalControlPlane,
  type LocalControlPlane,
  type LocalControlPlaneOptions,
} from '../../../functions/wiring.ts'
import { unmarshal, type Item, type Plain } from '../../../functions/store/dynamo/marshal.ts'
import { embeddedClient, openEmbeddedStore } from '../../../functions/store/embedded/open.ts'
import { ensureTable, openStores } from '../../../functions/store/open.ts'
import { createRateLimiter, type RateLimiter } from '../../../functions/middleware/rate-limit.ts'
import { watchKeyAccess } from '../../support/key-access.ts'
import { handClock, type HandClock } from '../../support/clock.ts'

export const ORIGIN = 'https://gate.test'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  /** Parsed JSON, undefined when there is no body. */
  readonly body: unknown
  readonly text: string
}

const field = (answer: Answer, name: string): unknown =>
  (answer.body as Record<string, unknown> | undefined)?.[name]
/** Code of a problem. */
export const codeOf = (answer: Answer): unknown => field(answer, 'code')
/** Paths that a problem names as wrong. */
export const pathsOf = (answer: Answer): string[] =>
  ((field(answer, 'issues') ?? []) as { path: string }[]).map((issue) => issue.path)
/** Items of a page. */
export const itemsOf = <T = { metadata: { name: string } }>(answer: Answer): T[] =>
  field(answer, 'items') as T[]
export const cursorOf = (answer: Answer): string | undefined =>
  field(answer, 'cursor') as string | undefined

export interface Call {
  readonly body?: unknown
  /** Instead of `body`: these very bytes. */
  readonly raw?: string | Uint8Array
  readonly headers?: Record<string, string>
  readonly ip?: string
}

/** Somebody with an identity: signs each request. */
export interface Signatory {
  readonly certificate: Certificate
  readonly signer: Signer
}

export interface World {
  readonly clock: HandClock
  readonly limiter: RateLimiter
  readonly plane: LocalControlPlane
  readonly operatorKey: string
  readonly dir: string
  /** Lets wall-clock time pass without running timers. */
  later(ms: number): void
  call(method: string, path: string, call?: Call): Promise<Answer>
  /** As the operator. */
  op(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer>
  /** As an identity. */
  as(
    who: Signatory,
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer>
  /** A user with these roles and logins, and a fresh certificate. */
  user(
    name: string,
    roles: readonly string[],
    logins?: readonly string[],
  ): Promise<Signatory & { certs: UserCertificates }>
  proxy(): Promise<Signatory>
  /** Every item of the table. */
  rows(): Promise<Plain[]>
  close(): Promise<void>
}

export async function openWorld(
  options: Pick<LocalControlPlaneOptions, 'issuers' | 'aws' | 'azure' | 'kubernetes'> & {
    readonly clock?: HandClock
  } = {},
): Promise<World> {
  const dir = mkdtempSync(join(tmpdir(), 'postern-api-'))
  const clock = options.clock ?? handClock()
  const limiter = createRateLimiter(clock)
  const random = systemRandom
  const engine = await openEmbeddedStore({ clock })
  const client = embeddedClient(engine)
  await ensureTable(client, 'postern')
  const iam = watchKeyAccess(client)
  const stores = openStores({
    client,
    tableName: 'postern',
    cursorKey: random.bytes(32),
    // Transactions that met pause in real time: nobody moves the hand clock while they wait.
    clock: { ...systemClock, now: () => clock.now() },
    random,
  })
  const plane = await createLocalControlPlane({
    dataDir: join(dir, 'data'),
    stores,
    clusterName: 'test.internal',
    publicOrigins: () => [ORIGIN],
    proxies: () => ['gate.test:443'],
    ...options,
    clock,
    limiter,
  })
  const { operatorKey } = await plane.bootstrap({
    user: 'root-owner',
    roles: ['access', 'editor', 'auditor'],
    traits: { logins: ['owner'] },
  })

  const call: World['call'] = async (method, path, given = {}) => {
    // Events of one millisecond have no order: time passes with every call, as it does in life.
    clock.set(plus(clock.now(), 1))
    const body = given.raw ?? (given.body === undefined ? undefined : JSON.stringify(given.body))
    const headers = new Headers(given.headers)
    if (body !== undefined && !headers.has('content-type'))
      headers.set('content-type', 'application/json')
    const request = new Request(ORIGIN + path, {
      method,
      headers,
      ...(body === undefined ? {} : { body: body as string }),
    })
    const response = await iam.as(method, path, () =>
      plane.fetch(request, { ip: given.ip ?? '192.0.2.1' }),
    )
    const text = await response.text()
    const json = (response.headers.get('content-type') ?? '').includes('json')
    return {
      status: response.status,
      headers: response.headers,
      body: text !== '' && json ? (JSON.parse(text) as unknown) : undefined,
      text,
    }
  }

  const bearer = (key: string) => ({ authorization: `Bearer ${key}` })
  const op: World['op'] = (method, path, body, headers) =>
    call(method, path, { body, headers: { ...bearer(operatorKey), ...headers } })

  const as: World['as'] = async (who, method, path, body, headers) => {
    const raw = body === undefined ? undefined : JSON.stringify(body)
    const authorization = await signRequest({
      method,
      url: ORIGIN + path,
      ...(raw === undefined ? {} : { body: raw }),
      cluster: plane.cluster,
      certificate: who.certificate,
      signer: who.signer,
      now: clock.now(),
    })
    return call(method, path, {
      ...(raw === undefined ? {} : { raw }),
      headers: { authorization, ...headers },
    })
  }

  return {
    clock,
    limiter,
    plane,
    operatorKey,
    dir,
    later: (ms) => clock.set(plus(clock.now(), ms)),
    call,
    op,
    as,
    async user(name, roles, logins = [name]) {
      await op('PUT', `/v1/users/${encodeURIComponent(name)}`, {
        kind: 'user',
        version: 'v2',
        metadata: { name },
        spec: { roles, traits: { logins } },
      })
      const key = generateKey()
      const answer = await op('POST', '/v1/certs', {
        public_key: encodeKey(key.publicKey),
        user: name,
      })
      const certs = userCertificates.parse(answer.body)
      return { certs, certificate: readCertificate(certs.x509), signer: keySigner(key.privateKey) }
    },
    async proxy() {
      const key = generateKey()
      const id = newId('proxy', clock.now(), random)
      const issued = await plane.issueProxyIdentity(id, key.publicKey)
      return { certificate: issued.certificate, signer: keySigner(key.privateKey) }
    },
    async rows() {
      const { Items } = await engine.handle('Scan', { TableName: 'postern' })
      return (Items as Item[]).map(unmarshal)
    },
    async close() {
      client.destroy()
      await engine.close()
      rmSync(dir, { recursive: true, force: true })
      const refused = iam.violations()
      if (refused.length > 0) throw new Error(`IAM would refuse: ${refused.join('; ')}`)
    },
  }
}
