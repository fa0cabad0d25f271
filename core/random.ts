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

/** The same things in a random order, each order as likely as any. */
export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const out = [...items]
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(random.float() * (i + 1))
    const [a, b] = [out[i], out[j]]
    if (a !== undefined && b !== undefined) [out[i], out[j]] = [b, a]
  }
  return out
}
