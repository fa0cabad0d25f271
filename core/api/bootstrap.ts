/** `POST /v1/bootstrap` on the wire: the first operator of a deployed cluster, and break-glass afterwards. */
import * as z from 'zod'
import { resourceName, userName } from '../domain/name.ts'
import { caPins } from '../domain/cluster.ts'
import { LIMITS } from '../limits.ts'

/** Where the two verbs that hold a CA key answer with its certificate. */
export const HOST_CA_PATH = '/v1/bootstrap/host-ca'
export const USER_CA_PATH = '/v1/bootstrap/user-ca'
export const BOOTSTRAP_PATH = '/v1/bootstrap'

const pem = z.string().max(LIMITS.certSize.value)

/** PEM, self-signed. */
export const caCertificateAnswer = z.object({ certificate: pem })
export type CaCertificateAnswer = z.output<typeof caCertificateAnswer>

/** `host_ca` and `user_ca` are needed as long as there is no cluster; afterwards they are not looked at. */
export const bootstrapRequest = z.strictObject({
  user: userName,
  /** Unix logins of the user, default none. */
  logins: z.array(z.string().min(1).max(64)).max(16).optional(),
  host_ca: pem.optional(),
  user_ca: pem.optional(),
})
export type BootstrapBody = z.output<typeof bootstrapRequest>

export const bootstrapAnswer = z.object({
  cluster: resourceName,
  /** Whether this call made the cluster. */
  created: z.boolean(),
  user: userName,
  roles: z.array(z.string()),
  /** Shown once. */
  operator_key: z.string(),
  key_id: z.string(),
  ca_pins: caPins,
})
export type BootstrapAnswer = z.output<typeof bootstrapAnswer>
