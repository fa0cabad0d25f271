/**
 * What an agent keeps in its data directory: the enrolment key, one credential for each service, and the next key while a join
 * or renewal is under way. Everything of one credential is in one file, so that a key never meets another key's certificate.
 *
 *   enrolment.pem            the key that names this agent to the control plane; made before the first join
 *   <service>/identity.json  the credential in force
 *   <service>/next.json      the key of a join or renewal whose answer is not on disk yet (protocols.md 2)
 */
import { createPrivateKey, type KeyObject } from 'node:crypto'
import { join } from 'node:path'
import * as z from 'zod'
import { credentials } from '../../core/api/join.ts'
import { identityOf, type Identity } from '../../core/certs/identity.ts'
import { generateKey, keySigner, thumbprint, type Signer } from '../../core/certs/signer.ts'
import { readCertificate, type Certificate } from '../../core/certs/x509-read.ts'
import { AppError } from '../../core/errors.ts'
import type { Instant } from '../../core/clock.ts'
import type { AgentId } from '../../core/ids.ts'
import { parseId, proxyIdOf } from '../../core/ids.ts'
import type { IdentityKind } from '../../core/domain/service.ts'
import type { Random } from '../../core/random.ts'
import {
  ensurePrivateDir,
  readPrivate,
  removeFile,
  sweepTemporaries,
  writeAtomic,
} from './files.ts'

/** One file never comes near this; a larger one is not ours. */
const FILE_MAX = 1024 * 1024

const storedIdentity = z.object({
  v: z.literal(1),
  key: z.string(),
  node_name: z.string(),
  credentials,
})
export type StoredIdentity = z.output<typeof storedIdentity>

const nextKey = z.object({
  v: z.literal(1),
  purpose: z.enum(['join', 'renew']),
  key: z.string(),
  /** For a renewal: its id, and the generation it starts from. */
  renewal_id: z.string().optional(),
  generation: z.int().optional(),
})
export interface NextKey {
  readonly purpose: 'join' | 'renew'
  readonly key: KeyObject
  readonly renewalId: string | undefined
  readonly generation: number | undefined
}

/** A credential that was read, checked and can sign. */
export interface HeldIdentity {
  readonly agentId: AgentId
  readonly service: IdentityKind
  readonly stored: StoredIdentity
  readonly certificate: Certificate
  readonly signer: Signer
  readonly expires: Instant
}

export interface IdentityStore {
  /** Makes the enrolment key at the first call. */
  enrolmentKey(): Promise<KeyObject>
  /** undefined: never joined, or what is there is not a credential of this service. */
  load(service: IdentityKind): Promise<HeldIdentity | undefined>
  /** Replaces the credential and forgets the next key, in this order. */
  save(service: IdentityKind, stored: StoredIdentity): Promise<HeldIdentity>
  /** Forgets the credential and what was under way for it. */
  remove(service: IdentityKind): Promise<void>
  /** The next key, made once and on disk before it is answered: a repeat after a crash or a lost answer uses the same. */
  nextKey(
    service: IdentityKind,
    want: { purpose: 'join' } | { purpose: 'renew'; generation: number },
  ): Promise<NextKey>
}

export const pkcs8 = (key: KeyObject): string =>
  key.export({ type: 'pkcs8', format: 'pem' }).toString()

const isOf = (identity: Identity, agentId: AgentId, service: IdentityKind): boolean =>
  service === 'proxy'
    ? identity.kind === 'proxy' && identity.proxyId === proxyIdOf(agentId)
    : identity.kind === 'agent' && identity.agentId === agentId && identity.service === service

/** Checks that key, certificate, service and agent id of a stored credential belong together. Throws ERR_CERT_INVALID. */
export function holdIdentity(service: IdentityKind, stored: StoredIdentity): HeldIdentity {
  const certificate = readCertificate(stored.credentials.x509)
  const signer = keySigner(createPrivateKey(stored.key))
  const identity = identityOf(certificate)
  const agentId = parseId('agent', stored.credentials.agent_id)
  const fits =
    agentId !== undefined &&
    isOf(identity, agentId, service) &&
    identity.cluster === stored.credentials.cluster &&
    certificate.thumbprint === thumbprint(signer.publicKey)
  if (!fits)
    throw new AppError('ERR_CERT_INVALID', undefined, {
      internal: `the credential of service ${service} does not fit its key, service or agent id`,
    })
  const expires = certificate.notAfter
  return { agentId, service, stored, certificate, signer, expires }
}

const parseJson = <S extends z.ZodType>(schema: S, text: string): z.output<S> | undefined => {
  try {
    const result = schema.safeParse(JSON.parse(text))
    return result.success ? result.data : undefined
  } catch {
    return undefined
  }
}

export async function openIdentityStore(dataDir: string, random: Random): Promise<IdentityStore> {
  await sweepTemporaries(dataDir)
  const ready = new Set<IdentityKind>()
  const dir = async (service: IdentityKind): Promise<string> => {
    const path = join(dataDir, service)
    if (!ready.has(service)) {
      await ensurePrivateDir(path)
      await sweepTemporaries(path)
      ready.add(service)
    }
    return path
  }
  const enrolmentPath = join(dataDir, 'enrolment.pem')
  let enrolment: Promise<KeyObject> | undefined
  const loadEnrolment = async (): Promise<KeyObject> => {
    const text = await readPrivate(enrolmentPath, FILE_MAX)
    if (text !== undefined) return createPrivateKey(text)
    const { privateKey } = generateKey()
    await writeAtomic(enrolmentPath, pkcs8(privateKey), random)
    return privateKey
  }

  return {
    // One promise, so that two services that start together do not make two keys.
    enrolmentKey: () => (enrolment ??= loadEnrolment()),

    async load(service) {
      const text = await readPrivate(join(await dir(service), 'identity.json'), FILE_MAX)
      if (text === undefined) return undefined
      const stored = parseJson(storedIdentity, text)
      if (!stored) return undefined
      try {
        return holdIdentity(service, stored)
      } catch {
        return undefined
      }
    },

    async save(service, stored) {
      const held = holdIdentity(service, stored)
      const path = await dir(service)
      await writeAtomic(join(path, 'identity.json'), JSON.stringify(stored), random)
      await removeFile(join(path, 'next.json'))
      return held
    },

    async remove(service) {
      const path = await dir(service)
      await removeFile(join(path, 'identity.json'))
      await removeFile(join(path, 'next.json'))
    },

    async nextKey(service, want) {
      const path = join(await dir(service), 'next.json')
      const text = await readPrivate(path, FILE_MAX)
      const found = text === undefined ? undefined : parseJson(nextKey, text)
      const generation = want.purpose === 'renew' ? want.generation : undefined
      if (found && found.purpose === want.purpose && found.generation === generation)
        return {
          purpose: found.purpose,
          key: createPrivateKey(found.key),
          renewalId: found.renewal_id,
          generation,
        }
      const { privateKey } = generateKey()
      const renewalId =
        want.purpose === 'renew' ? random.bytes(16).toString('base64url') : undefined
      const file: z.input<typeof nextKey> = {
        v: 1,
        purpose: want.purpose,
        key: pkcs8(privateKey),
        ...(renewalId === undefined ? {} : { renewal_id: renewalId }),
        ...(generation === undefined ? {} : { generation }),
      }
      await writeAtomic(path, JSON.stringify(file), random)
      return { purpose: want.purpose, key: privateKey, renewalId, generation }
    },
  }
}
