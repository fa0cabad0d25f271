/** The blocks of join methods in the spec of a token: one for each method whose rules stand under its own name. */
import type * as z from 'zod'
import { OIDC_BLOCKS, OIDC_METHODS } from './oidc/presets.ts'
import { azureBlock } from './azure/rule.ts'
import { tpmBlock } from './tpm/rule.ts'

const OTHER_BLOCKS = { azure: azureBlock, tpm: tpmBlock } as const
const OTHERS = Object.keys(OTHER_BLOCKS) as readonly (keyof typeof OTHER_BLOCKS)[]

export const BLOCK_METHODS = [...OIDC_METHODS, ...OTHERS] as const
export type BlockMethodName = (typeof BLOCK_METHODS)[number]
export const BLOCKS = {
  ...OIDC_BLOCKS,
  ...Object.fromEntries(OTHERS.map((name) => [name, OTHER_BLOCKS[name].optional()])),
} as Readonly<Record<BlockMethodName, z.ZodOptional>>
