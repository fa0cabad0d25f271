/** A machine that joins: its keys, its requests, its credentials. */
import { tokenSecretHash } from '../../../core/domain/token-secret.ts'
import type { JoinMethodName } from '../../../core/domain/join-method.ts'
import type { JoinPayload, RenewPayload } from '../../../core/api/join.ts'
import { generateKey, keySigner, type KeyPair } from '../../../core/certs/signer.ts'
import { readCertificate } from '../../../core/certs/x509-read.ts'
import type { ServiceKind } from '../../../core/domain/service.ts'
import { seconds } from '../../../core/clock.ts'
import { encodeKey, signJoin, signRenewal } from '../../../core/join/messages.ts'
import type { Answer, Signatory, World } from './world.ts'

export interface MachineJoin {
  /** Of a token with a secret; the methods without one have `shows`. */
  readonly secret?: string
  readonly shows?: {
    readonly method: JoinMethodName
    /** Name of the token. */
    readonly token: string
    readonly evidence: unknown
  }
  readonly service?: ServiceKind
  readonly node?: string
  readonly enrolment?: KeyPair
  readonly key?: KeyPair
  readonly ip?: string
  /** Changes the payload after it was made and before it is signed. */
  readonly mutate?: (payload: JoinPayload) => JoinPayload
}

export interface Joined extends Signatory {
  readonly answer: Answer
  readonly agentId: string
  readonly key: KeyPair
  readonly enrolment: KeyPair
}

export async function mint(world: World, body: Record<string, unknown> = {}): Promise<string> {
  const answer = await world.op('POST', '/v1/tokens', { roles: ['Node', 'App'], ...body })
  return (answer.body as { secret: string }).secret
}

export async function challenge(
  world: World,
  join: Required<Pick<MachineJoin, 'enrolment' | 'key' | 'service'>> &
    Pick<MachineJoin, 'secret' | 'shows'> & {
      ip?: string | undefined
    },
): Promise<string> {
  const answer = await world.call('POST', '/v1/join/challenge', {
    body: {
      method: join.shows?.method ?? 'token',
      token: join.shows?.token ?? tokenSecretHash(join.secret ?? ''),
      service: join.service,
      enrolment_key: encodeKey(join.enrolment.publicKey),
      service_key: encodeKey(join.key.publicKey),
    },
    ...(join.ip === undefined ? {} : { ip: join.ip }),
  })
  return (answer.body as { challenge: string }).challenge
}

/** Both calls of a join; the answer whatever it is. */
export async function tryJoin(world: World, given: MachineJoin): Promise<Answer> {
  const join = {
    service: 'ssh' as const,
    node: 'web-1',
    enrolment: given.enrolment ?? generateKey(),
    key: given.key ?? generateKey(),
    ...given,
  }
  const sealed = await challenge(world, join)
  const payload: JoinPayload = {
    challenge: sealed,
    method: join.shows?.method ?? 'token',
    service: join.service,
    enrolment_key: encodeKey(join.enrolment.publicKey),
    service_key: encodeKey(join.key.publicKey),
    node_name: join.node,
    evidence: join.shows?.evidence ?? { secret: join.secret },
  }
  const request = await signJoin(given.mutate?.(payload) ?? payload, {
    enrolment: keySigner(join.enrolment.privateKey),
    service: keySigner(join.key.privateKey),
  })
  return world.call('POST', '/v1/join', {
    body: request,
    ...(join.ip === undefined ? {} : { ip: join.ip }),
  })
}

/** Joins and expects to be let in. */
export async function joined(world: World, given: MachineJoin): Promise<Joined> {
  const enrolment = given.enrolment ?? generateKey()
  const key = given.key ?? generateKey()
  const answer = await tryJoin(world, { ...given, enrolment, key })
  if (answer.status !== 200) throw new Error(`not joined: ${answer.text}`)
  const body = answer.body as { x509: string; agent_id: string }
  return {
    answer,
    agentId: body.agent_id,
    key,
    enrolment,
    certificate: readCertificate(body.x509),
    signer: keySigner(key.privateKey),
  }
}

export async function tryRenew(
  world: World,
  of: Signatory,
  generation: number,
  next: KeyPair = generateKey(),
  change: Partial<RenewPayload> = {},
): Promise<Answer> {
  const payload: RenewPayload = {
    cluster: world.plane.cluster,
    certificate: of.certificate.raw.toString('base64url'),
    generation,
    next_key: encodeKey(next.publicKey),
    renewal_id: 'renewal-1',
    time: seconds(world.clock.now()),
    ...change,
  }
  const request = await signRenewal(payload, {
    current: of.signer,
    next: keySigner(next.privateKey),
  })
  return world.call('POST', '/v1/renew', { body: request })
}
