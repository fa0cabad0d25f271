/** The collecting half of the configured join method. Adding one is a file here and a line. */
import type { ServiceKind } from '../../core/domain/service.ts'
import { AppError } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import type { AgentConfig } from '../config.ts'
import { boundKeypairCollector } from './bound-keypair.ts'
import type { EvidenceCollector } from './collector.ts'
import { ec2Collector } from './ec2.ts'
import { iamCollector, type MachineDeps } from './iam.ts'
import { tokenCollector } from './token.ts'

export function collectorFor(
  config: AgentConfig,
  service: ServiceKind,
  deps: MachineDeps & { readonly random: Random },
): EvidenceCollector {
  const { token, joinMethod: method, dataDir } = config
  if (method === 'token') return tokenCollector(token)
  // The configuration was refused unless a method other than token came with a name.
  if (token?.kind !== 'name') throw new AppError('ERR_TOKEN_NEEDED')
  switch (method) {
    case 'iam':
      return iamCollector(token.name, deps)
    case 'ec2':
      return ec2Collector(token.name, deps)
    case 'bound_keypair':
      return boundKeypairCollector(token.name, {
        service,
        dataDir,
        config: config.boundKeypair,
        random: deps.random,
      })
  }
}
