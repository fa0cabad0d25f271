/** Surface first: implementation follows in this file. */
import type { KeyObject } from 'node:crypto'
import type { Signer } from './signer.ts'

export const CONTEXT = {
  join: 'postern-join.v1\0',
  renew: 'postern-renew.v1\0',
  tunnelClient: 'postern-tunnel.v1 client\0',
  tunnelProxy: 'postern-tunnel.v1 proxy\0',
  open: 'postern-open.v1\0',
  openAnswer: 'postern-open.v1 answer\0',
} as const
export type ProofContext = (typeof CONTEXT)[keyof typeof CONTEXT]
/** Signs context ‖ (u32 length ‖ part)… . A private KeyObject or a Signer. */
export declare function prove(
  context: ProofContext,
  key: Signer | KeyObject,
  ...parts: readonly Uint8Array[]
): Promise<Buffer>
export declare function checkProof(
  context: ProofContext,
  publicKey: KeyObject,
  signature: Uint8Array,
  ...parts: readonly Uint8Array[]
): boolean
