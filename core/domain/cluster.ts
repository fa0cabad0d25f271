/** What anyone may know of a cluster: the discovery document, the CA bundle, the ping. */
import * as z from 'zod'
import { resourceName } from './name.ts'

const pin = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'use sha256: and 64 hexadecimal digits')
export const caPins = z.array(pin)
export const caPin = pin

/** `GET /.well-known/postern`, the same at the API and at every proxy. Pins shown here are never trusted by clients. */
export const discovery = z.object({
  cluster: resourceName,
  api: z.url(),
  proxies: z.array(z.string()),
  ca_pins: z.array(pin),
})
export type Discovery = z.output<typeof discovery>

const ca = z.object({ x509: z.array(z.string()), ssh: z.array(z.string()) })
const jwk = z.object({
  kty: z.string(),
  crv: z.string().exactOptional(),
  x: z.string().exactOptional(),
  y: z.string().exactOptional(),
  kid: z.string().exactOptional(),
  alg: z.string().exactOptional(),
})
/** `GET /v1/ca`. */
export const caBundle = z.object({
  cluster: resourceName,
  host: ca,
  user: ca,
  policy: z.array(jwk),
  ca_pins: z.array(pin),
  /** Counts changes of the CAs. */
  ca_version: z.int().exactOptional(),
  /** The same, signed by the policy key (core/api/cas.ts), and how that key came to be the one it is. */
  signed: z.string().exactOptional(),
  policy_links: z.array(z.string()).exactOptional(),
})
export type CaDocument = z.output<typeof caBundle>

/** `GET /v1/ping`. */
export const ping = z.object({
  cluster: resourceName,
  version: z.string(),
  proxies: z.array(z.string()),
  join_methods: z.array(z.string()),
  ca_pins: z.array(pin),
})
export type Ping = z.output<typeof ping>
