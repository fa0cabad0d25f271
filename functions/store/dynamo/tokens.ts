/** Join tokens in the table. See token-store.ts for what each method promises. */
import * as z from 'zod'
import { seconds, type Clock } from '../../../core/clock.ts'
import { JOIN_METHODS } from '../../../core/domain/join-method.ts'
import type { JoinToken } from '../../../core/domain/token.ts'
import { SYSTEM_ROLES } from '../../../core/domain/service.ts'
import { AppError } from '../../../core/errors.ts'
import type { Thumbprint } from '../../../core/ids.ts'
import { RECOVERY_MODES } from '../../../core/join/bound-keypair-rule.ts'
import { indexed, keys } from '../table.ts'
import type { TokenStore } from '../token-store.ts'
import { codec, idOf, selector, stringMap, time } from './codec.ts'
import { listPage, type ListDeps } from './list.ts'
import type { Plain } from './marshal.ts'
import { absent, type Expression } from './table-client.ts'

const DAY = 24 * 3600
/** An expired token stays for a week, so that the audit log can say `expired` rather than `unknown`. */
export const tokenTtl = (token: JoinToken): number => seconds(token.expires) + 7 * DAY

const awsRule = z
  .object({
    account: z.string(),
    arn: z.string().optional(),
    regions: z.array(z.string()).optional(),
  })
  .transform((rule) => ({ ...rule, arn: rule.arn, regions: rule.regions }))
const boundKeypair = z
  .object({
    initialKey: idOf<Thumbprint>().optional(),
    secretHash: z.string().optional(),
    registerBefore: time.optional(),
    mode: z.enum(RECOVERY_MODES),
    limit: z.int(),
  })
  .transform((rules) => ({
    ...rules,
    initialKey: rules.initialKey,
    secretHash: rules.secretHash,
    registerBefore: rules.registerBefore,
  }))

const stored = z.object({
  name: z.string(),
  method: z.enum(JOIN_METHODS),
  roles: z.array(z.enum(SYSTEM_ROLES)),
  created: time,
  expires: time,
  maxUses: z.int().optional(),
  uses: z.int(),
  labels: stringMap,
  description: z.string().optional(),
  suggestedLabels: selector,
  forcedLabels: stringMap,
  allowedNames: z.array(z.string()).optional(),
  sharedNames: z.boolean(),
  aws: z.object({ allow: z.array(awsRule), iidTtl: z.int() }).optional(),
  boundKeypair: boundKeypair.optional(),
  /** As JSON: names in it are other people's, and an attribute could not have all of them. */
  methodSpec: z
    .string()
    .transform((text) => JSON.parse(text) as Record<string, unknown>)
    .optional(),
})
const tokens = codec('token', stored, (b): JoinToken => ({
  ...b,
  maxUses: b.maxUses,
  description: b.description,
  allowedNames: b.allowedNames,
  methodSpec: b.methodSpec,
}))
export const tokenFromItem = (item: Plain): JoinToken => tokens.fromItem(item)

const secrets = codec('secret', z.object({ name: z.string() }), (b) => b.name)

export function createTokenStore(deps: ListDeps & { readonly clock: Clock }): TokenStore {
  const { table, clock } = deps

  async function read(name: string): Promise<Plain | undefined> {
    return table.get(keys.token(name))
  }

  return {
    async create(token, secretHash) {
      const ttl = tokenTtl(token)
      const item = tokens.item(
        { ...keys.token(token.name), ...indexed('token', token.name), ttl },
        {
          ...token,
          created: seconds(token.created),
          expires: seconds(token.expires),
          methodSpec: token.methodSpec && JSON.stringify(token.methodSpec),
          secretHash,
          aws: token.aws && {
            allow: token.aws.allow.map((rule) => ({ ...rule })),
            iidTtl: token.aws.iidTtl,
          },
          boundKeypair: token.boundKeypair && {
            ...token.boundKeypair,
            registerBefore:
              token.boundKeypair.registerBefore && seconds(token.boundKeypair.registerBefore),
          },
        },
      )
      const absentOrExpired: Expression = {
        text: 'attribute_not_exists(pk) OR #expires <= :now',
        names: { '#expires': 'expires' },
        values: { ':now': seconds(clock.now()) },
      }
      const secret =
        secretHash === undefined
          ? []
          : [
              {
                put: secrets.item({ ...keys.secret(secretHash), ttl }, { name: token.name }),
                when: absent,
              },
            ]
      const failed = await table.transact([{ put: item, when: absentOrExpired }, ...secret])
      if (failed)
        throw new AppError('ERR_CONFLICT', `A token named ${token.name} exists already`, {
          internal: failed[0]?.failed ? 'name taken' : 'secret hash known',
        })
      return tokens.fromItem(item)
    },
    async bySecretHash(secretHash) {
      const pointer = await table.get(keys.secret(secretHash))
      const item = pointer && (await read(secrets.fromItem(pointer)))
      return item?.['secretHash'] === secretHash ? tokens.fromItem(item) : undefined
    },
    async byName(name) {
      const item = await read(name)
      return item && tokens.fromItem(item)
    },
    list: (page, now) =>
      listPage(deps, {
        list: 'token',
        page,
        decode: (item) => tokens.fromItem(item),
        keep: (token) => now < token.expires,
      }),
    async revoke(name) {
      const item = await read(name)
      if (!item) return undefined
      const hash = item['secretHash']
      const created = item['created']
      const failed = await table.transact([
        {
          remove: keys.token(name),
          when: {
            text: '#created = :created',
            names: { '#created': 'created' },
            values: { ':created': created ?? null },
          },
        },
        ...(typeof hash === 'string' ? [{ remove: keys.secret(hash) }] : []),
      ])
      return failed ? undefined : tokens.fromItem(item)
    },
  }
}
