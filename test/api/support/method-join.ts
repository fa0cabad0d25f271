/** A machine that joins by any method: the evidence is made for the challenge that it was given. */
import type { JoinPayload } from '../../../core/api/join.ts'
import { generateKey, keySigner, thumbprint, type KeyPair } from '../../../core/certs/signer.ts'
import type { JoinMethodName } from '../../../core/domain/join-method.ts'
import type { ServiceKind } from '../../../core/domain/service.ts'
import type { JoinKeys } from '../../../core/join/binding.ts'
import { encodeKey, signJoin } from '../../../core/join/messages.ts'
import { itemsOf, type Answer, type World } from './world.ts'

export interface MethodJoin {
  readonly method: JoinMethodName
  /** The token's name. */
  readonly token: string
  readonly evidence?: ((challenge: string) => unknown) | undefined
  /** Instead of `evidence`, for methods that ask more than a challenge. */
  readonly answers?: (challenge: string, question: unknown, keys: JoinKeys) => unknown
  /** Goes along with the wish for a challenge. */
  readonly params?: unknown
  readonly service?: ServiceKind
  readonly node?: string
  readonly enrolment?: KeyPair
  readonly key?: KeyPair
  readonly ip?: string
}

export async function joinBy(world: World, given: MethodJoin): Promise<Answer> {
  const { method, token, service = 'ssh', node = 'aws-1', ip } = given
  const { enrolment = generateKey(), key = generateKey() } = given
  const keys = {
    enrolment_key: encodeKey(enrolment.publicKey),
    service_key: encodeKey(key.publicKey),
  }
  const from = ip === undefined ? {} : { ip }
  const { params } = given
  const body = { method, token, service, ...keys, ...(params === undefined ? {} : { params }) }
  const asked = await world.call('POST', '/v1/join/challenge', { body, ...from })
  if (asked.status !== 200) return asked
  const { challenge, question } = asked.body as { challenge: string; question?: unknown }
  const thumbs = {
    enrolment: thumbprint(enrolment.publicKey),
    serviceKey: thumbprint(key.publicKey),
  }
  const evidence = await (given.answers?.(challenge, question, thumbs) ??
    given.evidence?.(challenge))
  const payload: JoinPayload = { challenge, method, service, ...keys, node_name: node, evidence }
  const signers = {
    enrolment: keySigner(enrolment.privateKey),
    service: keySigner(key.privateKey),
  }
  const request = await signJoin(payload, signers)
  return world.call('POST', '/v1/join', { body: request, ...from })
}

export interface JoinEvent {
  readonly outcome: string
  readonly reason?: string
  readonly fields: Readonly<Record<string, unknown>>
}
/** The newest entry of the audit log about a join. */
export const lastJoin = async (world: World): Promise<JoinEvent | undefined> =>
  itemsOf<JoinEvent>(await world.op('GET', '/v1/events?type=agent.join&limit=1'))[0]

/** A token file. */
export const tokenFile = (name: string, spec: Record<string, unknown>): object => ({
  kind: 'token',
  version: 'v2',
  metadata: { name },
  spec: { roles: ['Node', 'App'], ...spec },
})
