/** The CAs in the table. See ca-store.ts for what each method promises. */
import * as z from 'zod'
import { seconds } from '../../../core/clock.ts'
import { CA_KINDS, CA_PHASES, type CaKey, type CaState } from '../../../core/domain/ca.ts'
import type { JsonWebKeyLike } from '../../../core/domain/policy.ts'
import { AppError } from '../../../core/errors.ts'
import type { CaStore, DbClientCa, JwtKey, SignedCas } from '../ca-store.ts'
import { keys } from '../table.ts'
import { codec, time } from './codec.ts'
import type { Plain } from './marshal.ts'
import { bumpVersion } from './policy-bump.ts'
import { absent, type TableClient } from './table-client.ts'

const jwk = z.string().transform((text) => JSON.parse(text) as JsonWebKeyLike)
const key = z
  .object({
    ref: z.string(),
    pin: z.string(),
    created: time,
    certificate: z.string().optional(),
    jwk: jwk.optional(),
  })
  .transform((b): CaKey => ({ ...b, certificate: b.certificate, jwk: b.jwk }))
const rotation = z.object({
  mode: z.enum(['auto', 'manual']),
  grace: z.int(),
  started: time,
  since: time,
  switched: time.optional(),
  next: key,
})
const states = codec(
  'ca',
  z.object({
    kind: z.enum(CA_KINDS),
    version: z.int(),
    phase: z.enum(CA_PHASES),
    current: key,
    rotation: rotation.optional(),
    retired: z.array(z.string()),
    rotated: time.optional(),
  }),
  (b): CaState => ({
    ...b,
    rotation: b.rotation && { ...b.rotation, switched: b.rotation.switched },
    rotated: b.rotated,
  }),
)

const keyItem = (given: CaKey): Plain => ({
  ref: given.ref,
  pin: given.pin,
  created: seconds(given.created),
  certificate: given.certificate,
  jwk: given.jwk && JSON.stringify(given.jwk),
})
const itemOf = ({ rotation: r, ...state }: CaState): Plain =>
  states.item(keys.ca(state.kind), {
    ...state,
    current: keyItem(state.current),
    rotation: r && {
      mode: r.mode,
      grace: r.grace,
      started: seconds(r.started),
      since: seconds(r.since),
      switched: r.switched === undefined ? undefined : seconds(r.switched),
      next: keyItem(r.next),
    },
    rotated: state.rotated === undefined ? undefined : seconds(state.rotated),
  })

const jwtKeys = codec('jwtKey', z.object({ ref: z.string(), created: time, jwk }), (b): JwtKey => b)

const dbClientCas = codec(
  'dbClientCa',
  z.object({ ref: z.string(), created: time, certificate: z.string() }),
  (b): DbClientCa => b,
)

const signed = codec(
  'signedCas',
  z.object({ version: z.int(), jws: z.string(), links: z.array(z.string()) }),
  (b): SignedCas => b,
)

export function createCaStore({ table }: { readonly table: TableClient }): CaStore {
  return {
    async states() {
      return (await table.queryAll({ partition: keys.ca('host').pk })).map((item) =>
        states.fromItem(item),
      )
    },
    async init(state) {
      const { done, old } = await table.write({ put: itemOf(state), when: absent })
      return done || !old ? state : states.fromItem(old)
    },
    async replace(next, expected) {
      const when =
        expected === 0
          ? absent
          : {
              text: '#version = :version',
              names: { '#version': 'version' },
              values: { ':version': expected },
            }
      const failed = await table.transact([{ put: itemOf(next), when }, bumpVersion])
      if (failed)
        throw new AppError('ERR_CONFLICT', `somebody else changed the ${next.kind} CA; look again`)
    },
    async jwtKey() {
      const item = await table.get(keys.jwtKey())
      return item && jwtKeys.fromItem(item)
    },
    async initJwtKey(given) {
      const { ref, created } = given
      const body = { ref, created: seconds(created), jwk: JSON.stringify(given.jwk) }
      const { done, old } = await table.write({
        put: jwtKeys.item(keys.jwtKey(), body),
        when: absent,
      })
      return done || !old ? given : jwtKeys.fromItem(old)
    },
    async dbClientCa() {
      const item = await table.get(keys.dbClientCa())
      return item && dbClientCas.fromItem(item)
    },
    async initDbClientCa(given) {
      const body = { ...given, created: seconds(given.created) }
      const { done, old } = await table.write({
        put: dbClientCas.item(keys.dbClientCa(), body),
        when: absent,
      })
      return done || !old ? given : dbClientCas.fromItem(old)
    },
    async signed() {
      const item = await table.get(keys.signedCas())
      return item && signed.fromItem(item)
    },
    async publish(given) {
      await table.write({
        put: signed.item(keys.signedCas(), { ...given }),
        when: {
          text: 'attribute_not_exists(pk) OR #version <= :version',
          names: { '#version': 'version' },
          values: { ':version': given.version },
        },
      })
    },
  }
}
