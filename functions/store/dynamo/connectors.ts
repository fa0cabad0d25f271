/** Connectors in the table. See connector-store.ts for what each method promises. */
import * as z from 'zod'
import { seconds } from '../../../core/clock.ts'
import type { OidcConnector } from '../../../core/domain/oidc-connector.ts'
import { AppError } from '../../../core/errors.ts'
import type { ConnectorStore } from '../connector-store.ts'
import { indexed, issuerPartition, keys } from '../table.ts'
import { codec, time } from './codec.ts'
import { listPage, type ListDeps } from './list.ts'
import type { Plain } from './marshal.ts'
import { byName, stable } from './roles.ts'
import { absent, present, type Expression } from './table-client.ts'

const shape = z.object({
  name: z.string(),
  description: z.string().optional(),
  issuer: z.string(),
  audience: z.string().optional(),
  jwks: z.string().optional(),
  ca: z.string().optional(),
  rules: z.array(
    z.object({
      claims: z.record(z.string(), z.array(z.union([z.string(), z.number(), z.boolean()]))),
      roles: z.array(z.string()),
    }),
  ),
  created: time,
})
const from = (b: z.output<typeof shape>): OidcConnector => ({
  ...b,
  description: b.description,
  audience: b.audience,
  jwks: b.jwks,
  ca: b.ca,
})
const connectors = codec('connector', shape, from)
const byIssuer = codec('connectorIssuer', shape, from)

const body = (c: OidcConnector): Plain => ({
  ...c,
  rules: c.rules.map((rule) => ({ claims: { ...rule.claims }, roles: rule.roles })),
  created: seconds(c.created),
})
/** The row is still the one that was read: its issuer decides which other row goes with it. */
const of = (issuer: string): Expression => ({
  text: '#issuer = :issuer',
  names: { '#issuer': 'issuer' },
  values: { ':issuer': issuer },
})

export function createConnectorStore(deps: ListDeps): ConnectorStore {
  const { table } = deps
  async function get(name: string): Promise<OidcConnector | undefined> {
    const item = await table.get(keys.connector(name))
    return item && connectors.fromItem(item)
  }
  return {
    get,
    async ofIssuer(issuer) {
      const items = await table.queryAll({ partition: issuerPartition(issuer) })
      return items.map((item) => byIssuer.fromItem(item)).sort(byName)
    },
    async list() {
      const found: OidcConnector[] = []
      let cursor: string | undefined
      do {
        const page = await listPage(deps, {
          list: 'oidc_connector',
          page: { cursor },
          decode: (item) => connectors.fromItem(item),
          keep: () => true,
        })
        found.push(...page.items)
        cursor = page.cursor
      } while (cursor !== undefined)
      return found.sort(byName)
    },
    async put(wanted) {
      const old = await get(wanted.name)
      const next = { ...wanted, created: old?.created ?? wanted.created }
      if (old && stable(old) === stable(next)) return 'unchanged'
      const { name, issuer } = next
      const failed = await table.transact([
        {
          put: connectors.item(
            { ...keys.connector(name), ...indexed('oidc_connector', name) },
            body(next),
          ),
          when: old ? of(old.issuer) : absent,
        },
        { put: byIssuer.item(keys.connectorIssuer(issuer, name), body(next)) },
        ...(old && old.issuer !== issuer
          ? [{ remove: keys.connectorIssuer(old.issuer, name) }]
          : []),
      ])
      if (failed) throw new AppError('ERR_CONFLICT', `${name} was changed meanwhile`)
      return old ? 'replaced' : 'created'
    },
    async remove(name) {
      const old = await get(name)
      if (!old) return false
      const failed = await table.transact([
        { remove: keys.connector(name), when: of(old.issuer) },
        { remove: keys.connectorIssuer(old.issuer, name), when: present },
      ])
      if (failed) throw new AppError('ERR_CONFLICT', `${name} was changed meanwhile`)
      return true
    },
  }
}
