/**
 * `POST /v1/bootstrap`: makes the cluster when there is none, and an operator key and its user each time, for whoever AWS IAM lets
 * through (docs/adr/0045). Every call is in the audit log under the caller's ARN.
 */
import type { KeyObject } from 'node:crypto'
import {
  BOOTSTRAP_PATH,
  bootstrapRequest,
  type BootstrapAnswer,
  type BootstrapBody,
} from '../../core/api/bootstrap.ts'
import { caPin } from '../../core/certs/signer.ts'
import { readCertificate, type Certificate } from '../../core/certs/x509-read.ts'
import { verifyCa } from '../../core/certs/x509-verify.ts'
import type { Clock, Instant } from '../../core/clock.ts'
import { trustedKeys } from '../../core/domain/ca.ts'
import { AppError, badField, reasonOf } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import { bootstrap, createDefaultRoles } from '../bootstrap.ts'
import { body, sourceIp, type Ctx, type VerbApp } from '../http.ts'
import { deployerOf } from '../middleware/deployer.ts'
import { bundleOf } from '../signers/public-cas.ts'
import { stateOf } from '../store/ca-store.ts'
import type { Stores } from '../store/stores.ts'

export interface BootstrapRouteDeps {
  /** Name of the cluster that is made. */
  readonly cluster: string
  readonly clock: Clock
  readonly random: Random
  /** Public halves of the keys that the other verbs sign with. */
  readonly keys: { readonly host: KeyObject; readonly user: KeyObject; readonly policy: KeyObject }
  readonly stores: Pick<Stores, 'cluster' | 'cas' | 'roles' | 'users' | 'apiKeys' | 'events'>
}

const ROLES = ['access', 'editor', 'auditor'] as const

/** The caller is believed in nothing but that it carried the text here: key, signature and form are checked. */
function caOf(pem: string, field: string, key: KeyObject, now: Instant): Certificate {
  try {
    const certificate = readCertificate(pem)
    verifyCa(certificate, { key, now })
    return certificate
  } catch (e) {
    throw badField(field, `is not the certificate of this cluster's key: ${reasonOf(e)}`)
  }
}

async function makeCluster(deps: BootstrapRouteDeps, asked: BootstrapBody) {
  const { clock, keys, random, stores } = deps
  if (asked.host_ca === undefined || asked.user_ca === undefined)
    throw new AppError('ERR_CLUSTER_NEW', 'The cluster is new: send the certificates of its CAs')
  const now = clock.now()
  const cas = bundleOf(
    caOf(asked.host_ca, 'host_ca', keys.host, now),
    caOf(asked.user_ca, 'user_ca', keys.user, now),
    { publicKey: keys.policy },
  )
  // Before the row: whoever finds a cluster finds its roles.
  await createDefaultRoles(stores.roles)
  const id = random.bytes(16).toString('hex')
  // Of two that make it at once one wins, and both go on with that one's.
  return stores.cluster.init({ id, name: deps.cluster, created: now, cas })
}

export function bootstrapRoutes(app: VerbApp, deps: BootstrapRouteDeps): void {
  const { stores } = deps
  app.post(BOOTSTRAP_PATH, async (c: Ctx) => {
    const deployer = deployerOf(c)
    const asked = body(c, bootstrapRequest)
    const known = await stores.cluster.get()
    const cluster = known?.cas ? known : await makeCluster(deps, asked)
    const made = await bootstrap(deps, {
      user: asked.user,
      roles: ROLES,
      traits: asked.logins === undefined ? {} : { logins: asked.logins },
      by: { arn: deployer.arn, ip: sourceIp(c), request: c.get('requestId') },
    })
    const host = stateOf(await stores.cas.states(), 'host')
    const pins = host
      ? trustedKeys(host).map((key) => key.pin)
      : (cluster.cas?.host.x509 ?? []).map((pem) => caPin(readCertificate(pem).publicKey))
    const answer: BootstrapAnswer = {
      cluster: cluster.name,
      created: !known?.cas,
      user: asked.user,
      roles: [...ROLES],
      operator_key: made.operatorKey,
      key_id: made.keyId,
      ca_pins: pins,
    }
    return c.json(answer)
  })
}
