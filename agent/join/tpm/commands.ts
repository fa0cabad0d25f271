/** The commands of a TPM 2.0 (TPM 2.0 Library, Part 3) that a join needs, and no others. */
import type { Clock } from '../../../core/clock.ts'
import { ALG, CURVE_P256, sized, TpmReader, u16, u32, u8 } from '../../../core/join/tpm/wire.ts'
import { ATTESTATION_TEMPLATE } from '../../../core/join/tpm/attestation.ts'
import { run, type TpmDevice } from './device.ts'

const HANDLE = { null: 0x40000007, password: 0x40000009, endorsement: 0x4000000b } as const
/** An empty password, which is what hierarchies and our keys have. */
const PASSWORD = Buffer.concat([u32(HANDLE.password), sized(), u8(0), sized()])
const policy = (session: number): Buffer => Buffer.concat([u32(session), sized(), u8(0), sized()])

/** Where the certificates of the default endorsement keys are (TCG EK Credential Profile, 2.2.1.4). */
export const CERTIFICATE_INDEX = { rsa: 0x01c00002, ecc: 0x01c0000a } as const
export type EkKind = keyof typeof CERTIFICATE_INDEX

/** PolicySecret of the endorsement hierarchy; attributes of a storage key that never leaves. */
const EK_COMMON = Buffer.concat([
  u16(ALG.sha256),
  Buffer.from('000300b2', 'hex'),
  sized(Buffer.from('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa', 'hex')),
  ...[ALG.aes, 128, ALG.cfb, ALG.null].map(u16),
])
/** Templates L-1 and L-2 (the same profile, annex B.3). */
const EK_TEMPLATE: Readonly<Record<EkKind, Buffer>> = {
  rsa: Buffer.concat([u16(ALG.rsa), EK_COMMON, u16(2048), u32(0), sized(Buffer.alloc(256))]),
  ecc: Buffer.concat([
    u16(ALG.ecc),
    EK_COMMON,
    u16(CURVE_P256),
    u16(ALG.null),
    sized(Buffer.alloc(32)),
    sized(Buffer.alloc(32)),
  ]),
}

/** Every TPM reads at least this much at once. */
const NV_CHUNK = 512
const NV_MAX = 4096

export interface LoadedKey {
  readonly handle: number
  /** TPMT_PUBLIC. */
  readonly publicArea: Buffer
}

export function tpmCommands(device: TpmDevice, clock: Clock) {
  async function createPrimary(hierarchy: number, template: Buffer): Promise<LoadedKey> {
    const { handle, parameters } = await run(device, clock, {
      code: 0x131,
      name: 'CreatePrimary',
      handles: [hierarchy],
      auths: [PASSWORD],
      // No password, no data; the template; no outside information; no PCRs.
      parameters: [sized(sized(), sized()), sized(template), sized(), u32(0)],
      makesHandle: true,
    })
    return { handle, publicArea: parameters.sized() }
  }

  /** TPMS_NV_PUBLIC (Part 2, 13.6): index, algorithm, attributes, policy, size. */
  async function nvSize(index: number): Promise<number> {
    const command = { code: 0x169, name: 'NV_ReadPublic', handles: [index], parameters: [] }
    const { parameters } = await run(device, clock, command)
    const reader = new TpmReader(parameters.sized())
    reader.take(4 + 2 + 4)
    reader.sized()
    return reader.u16()
  }

  return {
    endorsementKey: (kind: EkKind) => createPrimary(HANDLE.endorsement, EK_TEMPLATE[kind]),
    /** In the null hierarchy: it needs nobody's permission, and is gone at the next start of the machine. */
    attestationKey: () => createPrimary(HANDLE.null, ATTESTATION_TEMPLATE),

    /** The secret of a credential (Part 3, 12.5). */
    async activate(ak: LoadedKey, ek: LoadedKey, blob: Buffer, secret: Buffer): Promise<Buffer> {
      const session = await run(device, clock, {
        code: 0x176,
        name: 'StartAuthSession',
        handles: [HANDLE.null, HANDLE.null],
        parameters: [sized(Buffer.alloc(16)), sized(), u8(1), u16(ALG.null), u16(ALG.sha256)],
        makesHandle: true,
      })
      await run(device, clock, {
        code: 0x151,
        name: 'PolicySecret',
        handles: [HANDLE.endorsement, session.handle],
        auths: [PASSWORD],
        parameters: [sized(), sized(), sized(), u32(0)],
      })
      const { parameters } = await run(device, clock, {
        code: 0x147,
        name: 'ActivateCredential',
        handles: [ak.handle, ek.handle],
        auths: [PASSWORD, policy(session.handle)],
        parameters: [sized(blob), sized(secret)],
      })
      return parameters.sized()
    },

    /** The key certifies itself (Part 3, 18.2), these bytes with it: a TPMS_ATTEST and a TPMT_SIGNATURE. */
    async certify(
      ak: LoadedKey,
      qualifying: Buffer,
    ): Promise<{ attest: Buffer; signature: Buffer }> {
      const { parameters } = await run(device, clock, {
        code: 0x148,
        name: 'Certify',
        handles: [ak.handle, ak.handle],
        auths: [PASSWORD, PASSWORD],
        parameters: [sized(qualifying), u16(ALG.null)],
      })
      const attest = parameters.sized()
      const head = [u16(parameters.u16()), u16(parameters.u16())]
      const [r, s] = [parameters.sized(), parameters.sized()]
      return { attest, signature: Buffer.concat([...head, sized(r), sized(s)]) }
    },

    /** What is at an index; undefined when there is nothing, or nothing that we may read. */
    async nvRead(index: number): Promise<Buffer | undefined> {
      const size = await nvSize(index).catch(() => undefined)
      if (size === undefined || size > NV_MAX) return undefined
      const parts: Buffer[] = []
      for (let offset = 0; offset < size; offset += NV_CHUNK) {
        const length = Math.min(NV_CHUNK, size - offset)
        const { parameters } = await run(device, clock, {
          code: 0x14e,
          name: 'NV_Read',
          handles: [index, index],
          auths: [PASSWORD],
          parameters: [u16(length), u16(offset)],
        })
        parts.push(parameters.sized())
      }
      return Buffer.concat(parts)
    },

    async flush(handle: number): Promise<void> {
      await run(device, clock, {
        code: 0x165,
        name: 'FlushContext',
        handles: [handle],
        parameters: [],
      })
    },
  }
}
