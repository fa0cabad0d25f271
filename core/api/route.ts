/** Routes (protocols.md 5.1): where a resource is, signed by the control plane. A route finds the way; it grants nothing. */
import * as z from 'zod'
import { LIMITS } from '../limits.ts'
import { resourceName } from '../domain/name.ts'
import { RESOURCE_KINDS, SERVICE_KINDS } from '../domain/service.ts'

/** `POST /v1/routes`. */
export const routeRequest = z.strictObject({
  kind: z.enum(RESOURCE_KINDS),
  name: resourceName,
})
export type RouteRequest = z.output<typeof routeRequest>

/** Payload of the route JWS, typ `postern-route+jws`, signed by the policy key. Times are epoch seconds. */
export const routeClaims = z.object({
  aud: resourceName,
  resource: z.object({ kind: z.enum(RESOURCE_KINDS), name: resourceName }),
  service: z.enum(SERVICE_KINDS),
  agents: z.array(z.string()).min(1).max(LIMITS.routeAgents.value),
  iat: z.int(),
  exp: z.int(),
})
export type RouteClaims = z.output<typeof routeClaims>

export const routeAnswer = z.object({
  route: z.string(),
  proxies: z.array(z.string()),
  /** Counts changes of the CAs: a client that knows fewer asks for them. */
  ca_version: z.int().exactOptional(),
  /** For apps: how to speak to it. */
  protocol: z.enum(['tcp', 'http']).optional(),
})
export type RouteAnswer = z.output<typeof routeAnswer>
export const ROUTE_TYP = 'postern-route+jws'
