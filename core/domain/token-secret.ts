/** The secret of a join token of method `token`: `pst_join_` and 43 base64url characters, 256 bits. */
import { createHash } from 'node:crypto'
import { LIMITS } from '../limits.ts'
import type { Random } from '../random.ts'

export const newTokenSecret = (random: Random): string =>
  `pst_join_${random.bytes(LIMITS.tokenBytes.value).toString('base64url')}`
export const isTokenSecret = (text: string): boolean => /^pst_join_[A-Za-z0-9_-]{43}$/.test(text)
/** What is stored and looked up; base64url SHA-256 of the whole secret, prefix included. */
export const tokenSecretHash = (secret: string): string =>
  createHash('sha256').update(secret, 'utf8').digest('base64url')
