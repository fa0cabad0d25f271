/** The blocks of join methods in the spec of a token: one for each method whose rules stand under its own name. */
import type * as z from 'zod'
import type { BlockMethodName, OidcMethodName } from '../domain/join-method.ts'
import { OIDC_BLOCKS } from './oidc/presets.ts'
import { azureBlock } from './azure/rule.ts'
import { tpmBlock } from './tpm/rule.ts'

const OTHER_BLOCKS: Readonly<Record<Exclude<BlockMethodName, OidcMethodName>, z.ZodOptional>> = {
  azure: azureBlock.optional(),
  tpm: tpmBlock.optional(),
}

export const BLOCKS: Readonly<Record<BlockMethodName, z.ZodOptional>> = {
  ...OIDC_BLOCKS,
  ...OTHER_BLOCKS,
}
