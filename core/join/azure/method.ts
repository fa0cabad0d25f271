/**
 * Join method `azure`: the attested document of the VM, with our nonce in it, and the access token of its managed identity. The
 * document says which VM this is, the token in which resource group; that both are about the same VM is what Azure Resource Manager
 * says, asked with that very token. No address is called but that one, and the path is made of parts that were verified.
 */
import * as z from 'zod'
import { AppError, reasonOf } from '../../errors.ts'
import { LIMITS } from '../../limits.ts'
import type { JoinToken } from '../../domain/token.ts'
import { parseJson } from '../../strict-json.ts'
import { bindingOf, type JoinKeys } from '../binding.ts'
import type { JoinMethod } from '../join-method.ts'
import { text, type Claims } from '../oidc/claims.ts'
import type { IssuerKeys } from '../oidc/jwks.ts'
import { verifyIdToken } from '../oidc/verify.ts'
import { verifyAttested, type SigningKey } from './attested.ts'
import { vmResource, type VmResource } from './resource-id.ts'
import { azureBlock, azureRefusal, type AzureBlock } from './rule.ts'

/** What managed identities are asked a token for. */
export const ARM = 'https://management.azure.com/'

export interface ArmClient {
  /**
   * The description of the VM at this path, asked for with this token. Throws ERR_UNREACHABLE, or ERR_JOIN_REFUSED when Azure does
   * not tell.
   */
  vm(path: string, accessToken: string): Promise<Buffer>
}

export interface AzureDeps {
  readonly arm: ArmClient
  readonly issuerKeys: IssuerKeys
  /** Keys of the CAs that certificates of the metadata service are from. */
  azureSigningKeys(): readonly SigningKey[]
}

/** The longest nonce that the metadata service takes whole: 24 bytes of the binding. */
export const azureNonce = (challenge: string, keys: JoinKeys): string =>
  bindingOf('azure', challenge, keys).subarray(0, 24).toString('base64url')

const evidence = z.strictObject({
  /** `signature` of the attested document, base64. */
  attested: z
    .string()
    .max(16_384)
    .regex(/^[A-Za-z0-9+/]+={0,2}$/),
  access_token: z.string().min(1).max(LIMITS.idToken.value),
})
export type AzureEvidence = z.output<typeof evidence>

const refuse = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_JOIN_REFUSED', undefined, { internal: `azure: ${internal}`, cause })

/** Whatever the tenant, Microsoft signs with keys of this one set; no address that the token names is called. */
const ISSUER = {
  url: 'https://sts.windows.net/',
  ca: undefined,
  jwksUri: 'https://login.microsoftonline.com/common/discovery/keys',
} as const
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

function tenantOf(claims: Claims): string {
  const tenant = text(claims, 'tid')
  if (tenant === undefined || !UUID.test(tenant)) throw refuse('access token: tid is no tenant')
  // The keys are everybody's, so the issuer has to be the tenant that the token says.
  if (text(claims, 'iss') !== `https://sts.windows.net/${tenant}/`)
    throw refuse(`access token: issuer is not that of tenant ${tenant}`)
  return tenant
}

/** The VM: of a user-assigned identity in `xms_az_rid`, of a system-assigned one in `xms_mirid`. */
function resourceOf(claims: Claims): VmResource {
  const id = text(claims, 'xms_az_rid') ?? text(claims, 'xms_mirid')
  if (id === undefined) throw refuse('access token: it is of no managed identity')
  const found = vmResource(id)
  if (!found)
    throw refuse(`access token: ${JSON.stringify(id.slice(0, 200))} is no virtual machine`)
  return found
}

const description = z.object({ properties: z.object({ vmId: z.string().max(64) }) })

function blockOf(token: JoinToken | undefined): AzureBlock {
  const block = azureBlock.safeParse(token?.methodSpec?.['azure'])
  if (!block.success) throw refuse("the token's block azure is not usable", block.error)
  return block.data
}

export function azureMethod(deps: AzureDeps): JoinMethod<AzureEvidence> {
  async function vmIdOf(vm: VmResource, accessToken: string): Promise<string> {
    const body = await deps.arm.vm(vm.path, accessToken)
    try {
      return description.parse(parseJson(body)).properties.vmId.toLowerCase()
    } catch (cause) {
      throw refuse(
        `the answer of Azure is not as expected: ${reasonOf(cause).slice(0, 200)}`,
        cause,
      )
    }
  }

  return {
    name: 'azure',
    strength: 'bound',
    tokenBy: 'name',
    evidence,
    async verify(given, { token, sealed, challenge, now }) {
      const block = blockOf(token)
      const attested = verifyAttested(
        Buffer.from(given.attested, 'base64'),
        { keys: deps.azureSigningKeys(), cas: block.signing_cas ?? [] },
        azureNonce(sealed, challenge),
        now,
      )
      const trust = {
        issuer: undefined,
        audience: ARM,
        algorithms: ['RS256'] as const,
        maxLife: undefined,
      }
      const { claims } = await verifyIdToken(
        given.access_token,
        trust,
        (kid) => deps.issuerKeys.of(ISSUER, kid),
        now,
      )
      const tenant = tenantOf(claims)
      const vm = resourceOf(claims)
      if (vm.subscription !== attested.subscription)
        throw refuse('document and access token are of different subscriptions')
      const facts = { subscription: vm.subscription, tenant, resourceGroup: vm.resourceGroup }
      const refused = azureRefusal(block, facts)
      // Azure is asked only about machines that a rule lets in.
      if (refused === undefined && (await vmIdOf(vm, given.access_token)) !== attested.vmId)
        throw refuse('document and access token are of different virtual machines')
      return {
        subject: `azure:${vm.path}`,
        attributes: {
          subscription: vm.subscription,
          tenant,
          resource_group: vm.resourceGroup,
          vm: vm.name,
          vm_id: attested.vmId,
        },
        token: { by: 'name', name: challenge.token },
      }
    },
    refusal: (token, { attributes }) =>
      azureRefusal(blockOf(token), {
        subscription: attributes['subscription'] ?? '',
        tenant: attributes['tenant'] ?? '',
        resourceGroup: attributes['resource_group'] ?? '',
      }),
  }
}
