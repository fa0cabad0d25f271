/**
 * What evidence is made out to, where a method lets us choose a few bytes of it: this challenge, and the keys that this join is
 * for. The challenge alone would not do: it is sealed, so a machine cannot see whose keys are inside, and whoever sits between
 * it and the control plane could hand it a challenge for keys of their own.
 */
import { createHash } from 'node:crypto'
import type { Thumbprint } from '../ids.ts'

export interface JoinKeys {
  readonly enrolment: Thumbprint
  readonly serviceKey: Thumbprint
}

/** 32 bytes: SHA-256 of `postern-<method>.v1`, NUL, then challenge and thumbprints with a NUL between. */
export const bindingOf = (method: 'azure' | 'tpm', challenge: string, keys: JoinKeys): Buffer =>
  createHash('sha256')
    .update(
      [`postern-${method}.v1`, challenge, keys.enrolment, keys.serviceKey].join('\0'),
      'ascii',
    )
    .digest()
