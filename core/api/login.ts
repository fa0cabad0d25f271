/** Signing in and getting user certificates on the wire. The private key never leaves the client. */
import * as z from 'zod'
import { LIMITS } from '../limits.ts'
import { duration } from '../duration.ts'
import { resourceName, userName } from '../domain/name.ts'

const publicKey = z
  .string()
  .max(256)
  .regex(/^[A-Za-z0-9_-]+$/, 'use base64url of the SPKI')

/** `POST /v1/login/password`: a local user's sign-in, answered with certificates at once. */
export const passwordLogin = z.strictObject({
  user: userName,
  password: z.string().min(1).max(LIMITS.passwordMax.value),
  public_key: publicKey,
  /** Shorter than the roles allow, if wished. */
  ttl: duration.optional(),
})
export type PasswordLogin = z.output<typeof passwordLogin>

/**
 * `POST /v1/certs`: fresh certificates. A signed-in user (signed request) asks for itself, never beyond the end of its own
 * certificate; an operator key with the right to update users may name a `user` (`postern up` renews its own user so).
 */
export const certRequest = z.strictObject({
  public_key: publicKey,
  user: userName.optional(),
  ttl: duration.optional(),
})
export type CertRequest = z.output<typeof certRequest>

export const userCertificates = z.object({
  cluster: resourceName,
  user: z.string(),
  /** PEM, leaf only. */
  x509: z.string(),
  /** `type base64 comment` line, as in a `-cert.pub` file. */
  ssh: z.string(),
  roles: z.array(z.string()),
  logins: z.array(z.string()),
  /** Epoch seconds. */
  expires: z.int(),
  proxies: z.array(z.string()),
  /** Of the CAs when these were signed: another one than that of the bundle at hand means to read that again. */
  ca_version: z.int(),
})
export type UserCertificates = z.output<typeof userCertificates>

/** `GET /v1/whoami`. */
export const whoami = z.object({
  /** `operator`: an API key; `workload`: an id token of a configured issuer. */
  kind: z.enum(['operator', 'workload', 'user', 'agent', 'proxy']),
  name: z.string(),
  /** Of an API key: the user it acts for. */
  owner: z.string().optional(),
  /** Of an id token. */
  issuer: z.string().optional(),
  subject: z.string().optional(),
  roles: z.array(z.string()),
  logins: z.array(z.string()),
  /** What it may do with the API now: verbs by kind. */
  permissions: z.record(z.string(), z.array(z.string())),
  expires: z.int().optional(),
})
export type Whoami = z.output<typeof whoami>
