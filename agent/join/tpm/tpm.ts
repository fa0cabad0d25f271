/**
 * Join method `tpm`: shows the endorsement key of this machine's TPM, has the TPM read the secret of the challenge, and has it sign
 * which join it vouches for. The keys it makes are gone when the join is over.
 */
import type { Clock } from '../../../core/clock.ts'
import { bindingOf, type JoinKeys } from '../../../core/join/binding.ts'
import { tpmQuestion, type TpmEvidence, type TpmOpening } from '../../../core/join/tpm/method.ts'
import { spkiOf } from '../../../core/join/tpm/wire.ts'
import { parse } from '../../../core/parse.ts'
import type { TpmConfig } from '../../config.ts'
import type { EvidenceCollector, Opened } from '../collector.ts'
import { openTpm, type TpmSession } from './session.ts'

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
const bytes = (field: string): Buffer => Buffer.from(field, 'base64url')

async function begin(session: TpmSession): Promise<Opened> {
  const { tpm, ek, certificate } = session
  const ak = session.keep(await tpm.attestationKey())
  const params: TpmOpening = {
    ek_public: text(spkiOf(session.ekPublic)),
    ak_public: text(ak.publicArea),
  }
  return {
    params,
    close: () => session.close(),
    async collect(challenge, untrustedQuestion, keys: JoinKeys): Promise<TpmEvidence> {
      const asked = parse(tpmQuestion, untrustedQuestion, { code: 'ERR_INTERNAL' })
      const blob = bytes(asked.credential_blob)
      const secret = await tpm.activate(ak, ek, blob, bytes(asked.encrypted_secret))
      const { attest, signature } = await tpm.certify(ak, bindingOf('tpm', challenge, keys))
      return {
        ...params,
        ...(certificate === undefined ? {} : { ek_certificate: text(certificate) }),
        secret: text(secret),
        attest: text(attest),
        signature: text(signature),
      }
    },
  }
}

export interface TpmCollectorDeps {
  readonly clock: Clock
  readonly config: TpmConfig | undefined
}

export function tpmCollector(tokenName: string, deps: TpmCollectorDeps): EvidenceCollector {
  return {
    name: 'tpm',
    handle: async () => tokenName,
    async open() {
      const session = await openTpm(deps.config, deps.clock)
      try {
        return await begin(session)
      } catch (e) {
        await session.close()
        throw e
      }
    },
  }
}
