/** The stores on a fresh table of the backend, with a clock that the test moves and timers that are real. */
import { instant, plus, systemClock, type Clock, type Instant } from '../../../core/clock.ts'
import { newId, type AgentId, type Thumbprint } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { newToken, type JoinToken } from '../../../core/domain/token.ts'
import { tokenSecretHash } from '../../../core/domain/token-secret.ts'
import type { EmbeddedOptions } from '../../../functions/store/embedded/open.ts'
import type { JoinCommit, JoinOutcome } from '../../../functions/store/join-store.ts'
import { ensureTable, openStores } from '../../../functions/store/open.ts'
import type { Stores } from '../../../functions/store/stores.ts'
import { openBackend, type Backend } from './backend.ts'

export interface StoreFixture {
  readonly stores: Stores
  readonly backend: Backend
  readonly tableName: string
  readonly clock: Clock
  /** Time as the stores see it. */
  now(): Instant
  advance(ms: number): void
  /** A name that no other test uses. */
  fresh(prefix: string): string
  agentId(): AgentId
  thumbprint(): Thumbprint
  token(fields?: Partial<JoinToken>): Promise<{ token: JoinToken; hash: string }>
  join(token: JoinToken, fields?: Partial<JoinCommit>): Promise<JoinOutcome>
  close(): Promise<void>
}

process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true'
export const minute = 60_000

export async function openFixture(
  options: Omit<EmbeddedOptions, 'path' | 'clock'> = {},
): Promise<StoreFixture> {
  let at = instant(Date.UTC(2026, 10, 23, 12, 0, 0))
  const clock: Clock = { ...systemClock, now: () => at }
  const backend = await openBackend({ ...options, clock })
  const tableName = `postern-${process.pid}-${process.hrtime.bigint()}`
  await ensureTable(backend.client, tableName)
  const stores = openStores({
    client: backend.client,
    tableName,
    clock,
    cursorKey: Buffer.alloc(32, 7),
  })
  let count = 0
  const agentId = () => newId('agent', at, systemRandom)
  const thumbprint = () => systemRandom.bytes(32).toString('base64url') as Thumbprint
  const fresh = (prefix: string) => `${prefix}-${++count}`
  return {
    stores,
    backend,
    tableName,
    clock,
    now: () => at,
    advance: (ms) => {
      at = plus(at, ms)
    },
    fresh,
    agentId,
    thumbprint,
    async token(fields = {}) {
      const made = newToken(
        { form: 'short', value: { roles: ['Node', 'App'] } },
        { name: fresh('token'), clock },
      )
      const hash = tokenSecretHash(thumbprint())
      return { token: await stores.tokens.create({ ...made, ...fields }, hash), hash }
    },
    join: (token, fields = {}) =>
      stores.joins.commit({
        token,
        now: at,
        enrolment: thumbprint(),
        newAgentId: agentId(),
        nodeName: 'web-1',
        service: 'ssh',
        key: thumbprint(),
        certificateExpires: plus(at, 24 * 60 * minute),
        ca: 'sha256:a',
        trustedCas: ['sha256:a'],
        names: [],
        ...fields,
      }),
    close: () => backend.close(),
  }
}
