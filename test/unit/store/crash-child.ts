/** Joins agents and announces for them until it is killed; a line for each thing that the store acknowledged. */
import { instant, systemClock } from '../../../core/clock.ts'
import { newToken } from '../../../core/domain/token.ts'
import { newId, type Thumbprint } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { embeddedClient, openEmbeddedStore } from '../../../functions/store/embedded/open.ts'
import { ensureTable, openStores } from '../../../functions/store/open.ts'

const [path = '', round = '0'] = process.argv.slice(2)
const store = await openEmbeddedStore({ path })
const client = embeddedClient(store)
await ensureTable(client, 'crash')
const stores = openStores({ client, tableName: 'crash', cursorKey: Buffer.alloc(32) })
const token = await stores.tokens.create(
  newToken(
    { form: 'short', value: { roles: ['Node'], max_uses: 100_000 } },
    { name: `round-${round}`, clock: systemClock },
  ),
  undefined,
)
const thumbprint = () => systemRandom.bytes(32).toString('base64url') as Thumbprint

async function work(): Promise<never> {
  for (;;) {
    const now = instant(Date.now())
    const id = newId('agent', now, systemRandom)
    const out = await stores.joins.commit({
      token,
      now,
      enrolment: thumbprint(),
      newAgentId: id,
      nodeName: id.replace('_', '-'),
      service: 'ssh',
      key: thumbprint(),
      certificateExpires: instant(now + 1e6),
      ca: 'sha256:a',
      trustedCas: ['sha256:a'],
      names: [{ kind: 'node', name: id.replace('_', '-') }],
    })
    if (out.kind !== 'joined') throw new Error('a join did not succeed')
    process.stdout.write(`joined ${id}\n`)
    await stores.agents.announce(id, 'app', [
      {
        kind: 'app',
        name: `a-${id.slice(3)}`,
        agentId: id,
        labels: {},
        protocol: 'tcp',
        hostname: undefined,
      },
    ])
    process.stdout.write(`announced ${id}\n`)
  }
}
await Promise.all(Array.from({ length: 8 }, work))
