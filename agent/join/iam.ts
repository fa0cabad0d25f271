/** Join method `iam`: signs, for our challenge, the call that tells AWS STS who we are. It is sent by the control plane, not by us. */
import { type Clock } from '../../core/clock.ts'
import { stsHostOf } from '../../core/join/aws-regions.ts'
import {
  CHALLENGE_HEADER,
  STS_BODY,
  STS_CONTENT_TYPE,
  type IamEvidence,
} from '../../core/join/iam.ts'
import { findCredentials } from './aws/credentials.ts'
import { signV4 } from '../../core/aws/sigv4.ts'
import type { EvidenceCollector } from './collector.ts'
import { localHttp } from './local-http.ts'

export interface MachineDeps {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
}

export function iamCollector(tokenName: string, { env, clock }: MachineDeps): EvidenceCollector {
  return {
    name: 'iam',
    handle: async () => tokenName,
    async collect(challenge, { signal }): Promise<IamEvidence> {
      const found = await findCredentials({ env, http: localHttp(clock), signal })
      const region = env['AWS_REGION'] ?? env['AWS_DEFAULT_REGION'] ?? found.region
      const host = stsHostOf(region)
      const headers = signV4(
        {
          method: 'POST',
          host,
          path: '/',
          headers: { 'content-type': STS_CONTENT_TYPE, [CHALLENGE_HEADER]: challenge },
          body: STS_BODY,
        },
        // The address that is in no region answers as us-east-1.
        {
          region: region !== undefined && host !== 'sts.amazonaws.com' ? region : 'us-east-1',
          service: 'sts',
        },
        found,
        clock.now(),
      )
      return {
        url: `https://${host}/`,
        method: 'POST',
        headers: Object.entries(headers),
        body: STS_BODY,
      }
    },
  }
}
