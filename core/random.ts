/**
 * The one place where randomness comes from. Secrets and ids use `bytes`; jitter uses `float`.
 */
import { randomBytes } from 'node:crypto'

export interface Random {
  /** `n` bytes from the operating system's CSPRNG. */
  bytes(n: number): Buffer
  /** Uniform in [0, 1). For jitter only, never for secrets. */
  float(): number
}

export const systemRandom: Random = {
  bytes: (n) => randomBytes(n),
  float: () => randomBytes(4).readUInt32BE(0) / 2 ** 32,
}
