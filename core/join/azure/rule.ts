/** The `spec.azure` of a token, in the words that existing token files use. All fields of a rule must fit, one rule is enough. */
import * as z from 'zod'
import { caCertificates } from '../vouched.ts'

const uuid = z
  .string()
  .transform((text) => text.toLowerCase())
  .pipe(z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'use a UUID'))

export const azureBlock = z.strictObject({
  /** PEM of further CAs that certificates of the metadata service may be from, beside those that we know. */
  signing_cas: caCertificates.optional(),
  allow: z
    .array(
      z
        .strictObject({
          subscription: uuid.optional(),
          tenant: uuid.optional(),
          /** Any of these; absent = all of the subscription or tenant. Case does not count. */
          resource_groups: z.array(z.string().min(1).max(90)).min(1).max(100).optional(),
        })
        // Names of resource groups are anybody's.
        .refine(
          (r) => r.subscription !== undefined || r.tenant !== undefined,
          'name a subscription or a tenant',
        ),
    )
    .min(1, 'name at least one rule')
    .max(100),
})
export type AzureBlock = z.output<typeof azureBlock>

export interface AzureFacts {
  readonly subscription: string
  readonly tenant: string
  readonly resourceGroup: string
}

/** Why no rule admits this machine; undefined when one does. */
export function azureRefusal({ allow }: AzureBlock, facts: AzureFacts): string | undefined {
  const { subscription, tenant, resourceGroup } = facts
  const ofSubscription = allow.filter(
    (rule) => rule.subscription === undefined || rule.subscription === subscription,
  )
  if (ofSubscription.length === 0) return `no rule allows subscription ${subscription}`
  const ofTenant = ofSubscription.filter((r) => r.tenant === undefined || r.tenant === tenant)
  if (ofTenant.length === 0) return `no rule allows tenant ${tenant}`
  const group = resourceGroup.toLowerCase()
  const fits = ofTenant.some(
    ({ resource_groups: groups }) => !groups || groups.some((one) => one.toLowerCase() === group),
  )
  return fits ? undefined : `no rule allows resource group ${resourceGroup}`
}
