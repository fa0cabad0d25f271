/**
 * The CAs on the wire. `GET /v1/ca` gives their public halves to anyone; `signed` in it is the same in a JWS of the policy key, so
 * that whoever knows that key can learn new CAs from an answer that came over a connection nobody vouches for. `/v1/cas` is for
 * operators: how far rotations are, and moving them on.
 */
import * as z from 'zod'
import { CA_KINDS, CA_PHASES } from '../domain/ca.ts'
import { resourceName } from '../domain/name.ts'
import { duration } from '../duration.ts'

/** JWS `typ` of the signed CAs. */
export const CAS_TYP = 'postern-cas+jws'

const side = z.object({ x509: z.array(z.string()).min(1), ssh: z.array(z.string()) })
const jwk = z.looseObject({ kty: z.string() })

/** Payload of the signed CAs. Times are epoch seconds. In each list the one that signs comes first. */
export const signedCas = z.object({
  cluster: resourceName,
  /** Counts changes of the CAs: who knows a higher one refuses it. */
  version: z.int(),
  issued: z.int(),
  expires: z.int(),
  cas: z.object({ host: side, user: side, policy: z.array(jwk).min(1) }),
  /** `sha256:…` of host CA keys that are trusted no more, whatever a configuration pins. */
  retired: z.array(z.string()),
})
export type SignedCasPayload = z.output<typeof signedCas>

const when = z.iso.datetime()
const caKey = z.object({ pin: z.string(), created: when })

/** One CA as an operator sees it. */
export const caDocument = z.object({
  kind: z.literal('ca'),
  name: z.enum(CA_KINDS),
  phase: z.enum(CA_PHASES),
  /** The key that signs now. */
  signs: caKey,
  /** All that are trusted, the one that signs first. */
  trusted: z.array(caKey),
  rotation: z
    .object({
      mode: z.enum(['auto', 'manual']),
      grace: z.string(),
      started: when,
      since: when,
      /** When the phase ends by itself; absent when an operator has to ask for the next. */
      ends: when.optional(),
      next_phase: z.enum(CA_PHASES),
    })
    .optional(),
  rotated: when.optional(),
  retired: z.array(z.string()),
})
export type CaDocument = z.output<typeof caDocument>
export const caList = z.object({ items: z.array(caDocument) })

/** `POST /v1/cas/{name}/rotate`. */
export const rotateRequest = z.strictObject({
  /** Without it: an automatic rotation. With it: by hand, one phase a call. */
  phase: z.enum(CA_PHASES).optional(),
  /** How long an automatic one takes; `0s` cuts over at once. */
  grace: duration.optional(),
  force: z.boolean().optional(),
})
export const rollbackRequest = z.strictObject({})
