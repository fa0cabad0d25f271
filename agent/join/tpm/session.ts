/** The TPM of this machine, opened: its endorsement key, and the certificate that its maker put beside it. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { existsSync } from 'node:fs'
import type { Clock } from '../../../core/clock.ts'
import { AppError } from '../../../core/errors.ts'
import { ALG, TpmReader } from '../../../core/join/tpm/wire.ts'
import type { TpmConfig } from '../../config.ts'
import { CERTIFICATE_INDEX, tpmCommands, type EkKind, type LoadedKey } from './commands.ts'
import { openTpmDevice } from './device.ts'

/** With the kernel's resource manager first: without it, every user of the TPM has to clean up after the others. */
const DEVICES = ['/dev/tpmrm0', '/dev/tpm0']

/** TPMT_PUBLIC of an endorsement key, as any other public key. */
function endorsementKey(publicArea: Buffer): KeyObject {
  const reader = new TpmReader(publicArea)
  const kind = reader.u16()
  reader.take(2 + 4)
  reader.sized()
  reader.take(4 * 2)
  if (kind === ALG.rsa) {
    reader.take(2 + 4)
    const n = reader.sized().toString('base64url')
    return createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' })
  }
  reader.take(2 + 2)
  const coordinate = (): string => {
    const bytes = reader.sized()
    return Buffer.concat([Buffer.alloc(32 - bytes.length), bytes]).toString('base64url')
  }
  const key = { kty: 'EC', crv: 'P-256', x: coordinate(), y: coordinate() }
  return createPublicKey({ key, format: 'jwk' })
}

/** The certificate without the padding that follows it in some TPMs. */
function derOf(stored: Buffer): Buffer | undefined {
  if (stored[0] !== 0x30 || stored[1] !== 0x82 || stored.length < 4) return undefined
  const length = 4 + stored.readUInt16BE(2)
  return length <= stored.length ? stored.subarray(0, length) : undefined
}

/** Whoever comes second waits: a TPM without a resource manager has room for three keys. */
const queues = new Map<string, Promise<void>>()
async function enter(path: string): Promise<() => void> {
  const before = queues.get(path)
  let leave = (): void => undefined
  const mine = new Promise<void>((resolve) => (leave = resolve))
  queues.set(path, mine)
  await before
  return () => {
    if (queues.get(path) === mine) queues.delete(path)
    leave()
  }
}

type Commands = ReturnType<typeof tpmCommands>
export interface TpmSession {
  readonly tpm: Commands
  readonly kind: EkKind
  readonly ek: LoadedKey
  readonly ekPublic: KeyObject
  /** DER, when there is one. */
  readonly certificate: Buffer | undefined
  /** Removes the key when the session ends. */
  keep<K extends LoadedKey>(key: K): K
  close(): Promise<void>
}

async function findKey(
  tpm: Commands,
  chosen: EkKind | undefined,
): Promise<{ kind: EkKind; certificate: Buffer | undefined }> {
  for (const kind of ['rsa', 'ecc'] as const) {
    if (chosen !== undefined && chosen !== kind) continue
    const stored = await tpm.nvRead(CERTIFICATE_INDEX[kind])
    const certificate = stored && derOf(stored)
    if (certificate) return { kind, certificate }
  }
  return { kind: chosen ?? 'rsa', certificate: undefined }
}

/** Throws ERR_EVIDENCE_MISSING when the machine has no TPM or it refuses, ERR_TIMEOUT when it does not answer. */
export async function openTpm(config: TpmConfig | undefined, clock: Clock): Promise<TpmSession> {
  const path = config?.device ?? DEVICES.find((one) => existsSync(one))
  if (path === undefined)
    throw new AppError('ERR_EVIDENCE_MISSING', 'this machine has no TPM 2.0 (no /dev/tpmrm0)')
  const leave = await enter(path)
  const handles: number[] = []
  const keep = <K extends LoadedKey>(key: K): K => {
    handles.push(key.handle)
    return key
  }
  try {
    const device = await openTpmDevice(path)
    const tpm = tpmCommands(device, clock)
    const close = async (): Promise<void> => {
      try {
        for (const handle of handles) await tpm.flush(handle).catch(() => undefined)
        await device.close()
      } finally {
        leave()
      }
    }
    try {
      const { kind, certificate } = await findKey(tpm, config?.ek)
      const ek = keep(await tpm.endorsementKey(kind))
      const ekPublic = endorsementKey(ek.publicArea)
      return { tpm, kind, ek, ekPublic, certificate, keep, close }
    } catch (e) {
      await close()
      throw e
    }
  } catch (e) {
    leave()
    throw e
  }
}
