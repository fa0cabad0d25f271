/** Join method `token`: the secret is the evidence. It leaves this machine only inside TLS to a verified API. */
import type { TokenEvidence } from '../../core/join/token.ts'
import { tokenSecretHash } from '../../core/domain/token-secret.ts'
import type { TokenSource } from '../config.ts'
import { readToken } from '../token-file.ts'
import type { EvidenceCollector } from './collector.ts'

export function tokenCollector(source: TokenSource | undefined): EvidenceCollector {
  return {
    name: 'token',
    handle: async () => tokenSecretHash(await readToken(source)),
    collect: async (): Promise<TokenEvidence> => ({ secret: await readToken(source) }),
  }
}
