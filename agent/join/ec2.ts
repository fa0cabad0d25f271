/** Join method `ec2`: the identity document of this instance as AWS signed it, from the metadata service. */
import { AppError } from '../../core/errors.ts'
import type { Ec2Evidence } from '../../core/join/ec2.ts'
import { openImds } from './aws/imds.ts'
import type { EvidenceCollector } from './collector.ts'
import type { MachineDeps } from './iam.ts'
import { localHttp } from './local-http.ts'

export function ec2Collector(tokenName: string, { env, clock }: MachineDeps): EvidenceCollector {
  return {
    name: 'ec2',
    handle: async () => tokenName,
    async collect(_challenge, { signal }): Promise<Ec2Evidence> {
      const imds = await openImds(localHttp(clock), env, signal)
      const text = await imds.get('dynamic/instance-identity/rsa2048')
      if (text === undefined)
        throw new AppError('ERR_EVIDENCE_MISSING', 'this machine has no instance identity document')
      return { rsa2048: text.replaceAll(/\s/g, '') }
    },
  }
}
