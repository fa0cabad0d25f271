/** Azure Resource Manager for method `azure`: one question about one VM, with the access token that the VM showed. */
import type { Clock } from '../../core/clock.ts'
import { ARM, type ArmClient } from '../../core/join/azure/method.ts'
import { fetchFromIssuer } from './issuer-fetch.ts'
import type { StsAddress } from './sts.ts'

const VERSION = '2024-07-01'

export const createArmClient = (deps: {
  readonly clock: Clock
  readonly at?: ((host: string) => StsAddress | undefined) | undefined
}): ArmClient => ({
  vm: (path, accessToken) =>
    fetchFromIssuer(`${ARM.slice(0, -1)}${path}?api-version=${VERSION}`, {
      clock: deps.clock,
      ca: undefined,
      allowPrivate: false,
      at: deps.at,
      headers: { authorization: `Bearer ${accessToken}`, accept: 'application/json' },
      what: 'Azure Resource Manager',
    }),
})
