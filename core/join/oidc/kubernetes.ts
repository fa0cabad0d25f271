/**
 * Preset `kubernetes`: the projected service account token of a pod. Its keys are pasted into the token (`static_jwks`) or read
 * from the cluster's public issuer (`oidc`), or the cluster that the control plane itself runs in is asked (`in_cluster`).
 */
import * as z from 'zod'
import { LIMITS } from '../../limits.ts'
import { object, text, type Claims } from './claims.ts'
import { derived } from './fields.ts'
import { staticJwks } from './jwks.ts'
import { issuerUrl, preset } from './preset.ts'

const PART = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/

/**
 * `namespace:name`. The subject and the structured claims must say the same, and the token must belong to a pod: one that an
 * operator made by hand outlives every pod.
 */
function serviceAccount(claims: Claims): string | undefined {
  const inside = object(claims, 'kubernetes.io')
  const namespace = text(inside, 'namespace')
  const name = text(object(inside, 'serviceaccount'), 'name')
  if (namespace === undefined || name === undefined) return undefined
  if (!PART.test(namespace) || !PART.test(name)) return undefined
  if (text(claims, 'sub') !== `system:serviceaccount:${namespace}:${name}`) return undefined
  if (text(object(inside, 'pod'), 'name') === undefined) return undefined
  return `${namespace}:${name}`
}

export const kubernetesPreset = preset({
  name: 'kubernetes',
  shape: {
    type: z
      .enum(['in_cluster', 'static_jwks', 'oidc'], 'use in_cluster, static_jwks or oidc')
      .default('in_cluster'),
    static_jwks: z.strictObject({ jwks: staticJwks }).optional(),
    oidc: z.strictObject({ issuer: issuerUrl }).optional(),
  },
  check: ({ type, ...block }) => {
    const other = (['static_jwks', 'oidc'] as const).find(
      (name) => name !== type && block[name] !== undefined,
    )
    if (other !== undefined) return `block ${other} belongs to type ${other}`
    return type === 'in_cluster' || block[type] !== undefined
      ? undefined
      : `type ${type} needs the block ${type}`
  },
  trusted: (block) => ({
    issuer: block.oidc?.issuer,
    jwks: block.static_jwks?.jwks,
    reviewed: block.type === 'in_cluster',
  }),
  algorithms: ['RS256', 'ES256', 'ES384'],
  maxLife: LIMITS.kubernetesTokenTtl.value,
  fields: { service_account: derived(serviceAccount) },
  needs: [['service_account']],
  noted: ['kubernetes.io.namespace', 'kubernetes.io.serviceaccount.name', 'kubernetes.io.pod.name'],
})
