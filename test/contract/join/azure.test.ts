/** Method `azure` against the contract of all methods. The long corpus, with a test Azure over HTTPS, is in test/api/join-azure. */
import { afterAll } from 'vitest'
import type { JoinToken } from '../../../core/domain/token.ts'
import { azureNonce } from '../../../core/join/azure/method.ts'
import { parseJwks } from '../../../core/join/oidc/jwks.ts'
import { fakeAzure, signAttested, VM } from '../../fakes/azure.ts'
import { handClock } from '../../support/clock.ts'
import { jwksOf } from '../../support/id-tokens.ts'
import { joinMethodContract, now } from './method.ts'

const azure = await fakeAzure(handClock(now))
afterAll(() => azure.close())

joinMethodContract({
  name: 'azure',
  setup(sealed, keys) {
    const attested = (nonce = azureNonce(sealed, keys), change = {}): string =>
      signAttested(azure.document(nonce, VM, change), azure.signer)
    const good = { attested: attested(), access_token: azure.accessToken() }
    return {
      token: 'vms',
      joinToken: {
        name: 'vms',
        methodSpec: { azure: { allow: [{ subscription: VM.subscription }] } },
      } as unknown as JoinToken,
      deps: {
        azureSigningKeys: () => azure.signingKeys,
        issuerKeys: { of: async () => parseJwks(Buffer.from(jwksOf(azure.tokenKey))) },
        arm: {
          vm: async () => Buffer.from(JSON.stringify({ properties: { vmId: VM.vmId } })),
        },
      },
      evidence: good,
      broken: {
        'a document of another join': { ...good, attested: attested(azureNonce('other', keys)) },
        'a document of another machine': {
          ...good,
          attested: attested(undefined, { vmId: '00000000-0000-4000-8000-000000000000' }),
        },
        'a document cut short': { ...good, attested: good.attested.slice(0, -8) },
        'an access token for somebody else': {
          ...good,
          access_token: azure.accessToken(VM, { aud: 'https://vault.azure.net/' }),
        },
        'an access token without a signature': {
          ...good,
          access_token: `${good.access_token.split('.').slice(0, 2).join('.')}.`,
        },
        'no access token': { attested: good.attested },
      },
    }
  },
})
