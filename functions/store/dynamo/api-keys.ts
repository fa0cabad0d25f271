/** API keys in the table. See api-key-store.ts for what each method promises. */
import * as z from 'zod'
import { seconds, type Instant } from '../../../core/clock.ts'
import type { ApiKey } from '../../../core/domain/api-key.ts'
import { AppError } from '../../../core/errors.ts'
import type { KeyId } from '../../../core/ids.ts'
import type { ApiKeyStore } from '../api-key-store.ts'
import { indexed, keys } from '../table.ts'
import { codec, idOf, time } from './codec.ts'
import { listPage, type ListDeps } from './list.ts'
import { apiRules } from './roles.ts'
import { absent, present } from './table-client.ts'

const apiKeys = codec(
  'apiKey',
  z.object({
    id: idOf<KeyId>(),
    name: z.string(),
    owner: z.string(),
    scopes: apiRules,
    created: time,
    expires: time.optional(),
  }),
  (b): ApiKey => ({ ...b, expires: b.expires }),
)
const pointers = codec('apiKeyId', z.object({ hash: z.string() }), (b) => b.hash)
const DAY = 24 * 3600
const alive = (key: ApiKey, now: Instant): boolean => key.expires === undefined || now < key.expires

export function createApiKeyStore(deps: ListDeps): ApiKeyStore {
  const { table } = deps

  async function find(id: KeyId): Promise<{ key: ApiKey; hash: string } | undefined> {
    const pointer = await table.get(keys.apiKeyId(id))
    if (!pointer) return undefined
    const hash = pointers.fromItem(pointer)
    const item = await table.get(keys.apiKey(hash))
    return item && { key: apiKeys.fromItem(item), hash }
  }

  return {
    async create(key, secretHash) {
      const expires = key.expires === undefined ? undefined : seconds(key.expires)
      const ttl = expires === undefined ? undefined : expires + DAY
      const body = {
        ...key,
        scopes: key.scopes.map((rule) => ({ resources: rule.resources, verbs: rule.verbs })),
        created: seconds(key.created),
        expires,
      }
      const failed = await table.transact([
        {
          put: apiKeys.item(
            { ...keys.apiKey(secretHash), ...indexed('apikey', key.id), ttl },
            body,
          ),
          when: absent,
        },
        {
          put: pointers.item({ ...keys.apiKeyId(key.id), ttl }, { hash: secretHash }),
          when: absent,
        },
      ])
      if (failed) throw new AppError('ERR_CONFLICT', 'This API key exists already')
    },
    async byHash(secretHash, now) {
      const item = await table.get(keys.apiKey(secretHash))
      const key = item && apiKeys.fromItem(item)
      return key && alive(key, now) ? key : undefined
    },
    list: (page, now) =>
      listPage(deps, {
        list: 'apikey',
        page,
        decode: (item) => apiKeys.fromItem(item),
        keep: (key) => alive(key, now),
      }),
    async get(id, now) {
      const key = (await find(id))?.key
      return key && alive(key, now) ? key : undefined
    },
    async revoke(id) {
      const found = await find(id)
      if (!found) return undefined
      const failed = await table.transact([
        { remove: keys.apiKey(found.hash), when: present },
        { remove: keys.apiKeyId(id) },
      ])
      return failed ? undefined : found.key
    },
  }
}
