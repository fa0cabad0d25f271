/** Join method `azure`: the attested document of this VM for our nonce, and a token of its managed identity, from the metadata service. */
import * as z from 'zod'
import type { Clock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import { ARM, azureNonce, type AzureEvidence } from '../../core/join/azure/method.ts'
import type { Env } from '../env.ts'
import type { EvidenceCollector } from './collector.ts'
import { localHttp } from './local-http.ts'

const missing = (message: string): AppError => new AppError('ERR_EVIDENCE_MISSING', message)

const document = z.object({ encoding: z.literal('pkcs7'), signature: z.string() })
const token = z.object({ access_token: z.string() })

export interface AzureCollectorDeps {
  readonly env: Env
  readonly clock: Clock
  /** Which of several user-assigned identities; undefined = the only one. */
  readonly clientId: string | undefined
}

export function azureCollector(tokenName: string, deps: AzureCollectorDeps): EvidenceCollector {
  const http = localHttp(deps.clock)
  // The variable that Azure's own libraries read.
  const base = deps.env['AZURE_POD_IDENTITY_AUTHORITY_HOST'] ?? 'http://169.254.169.254'

  async function ask<T>(
    path: string,
    query: Readonly<Record<string, string>>,
    shape: z.ZodType<T>,
    signal: AbortSignal,
  ): Promise<T> {
    if (!URL.canParse(path, base)) throw missing('AZURE_POD_IDENTITY_AUTHORITY_HOST holds no URL')
    const url = new URL(path, base)
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
    const { status, body } = await http({
      method: 'GET',
      url,
      headers: { metadata: 'true' },
      signal,
    })
    if (status === 429 || status >= 500)
      throw new AppError('ERR_UNREACHABLE', `the metadata service answered ${status}`)
    if (status !== 200)
      throw missing(
        `the metadata service answered ${status} to ${path}: is this a VM in Azure, with a managed identity?`,
      )
    try {
      return shape.parse(JSON.parse(body))
    } catch {
      // The answer may hold a token: it goes nowhere.
      throw missing(`the answer of the metadata service to ${path} is not as expected`)
    }
  }

  return {
    name: 'azure',
    handle: async () => tokenName,
    async collect(challenge, { signal, keys }): Promise<AzureEvidence> {
      const nonce = azureNonce(challenge, keys)
      const attested = await ask(
        '/metadata/attested/document',
        { 'api-version': '2020-09-01', nonce },
        document,
        signal,
      )
      const { access_token: accessToken } = await ask(
        '/metadata/identity/oauth2/token',
        {
          'api-version': '2018-02-01',
          resource: ARM,
          ...(deps.clientId === undefined ? {} : { client_id: deps.clientId }),
        },
        token,
        signal,
      )
      return { attested: attested.signature.replaceAll(/\s/g, ''), access_token: accessToken }
    },
  }
}
