/**
 * Passwords of local users: scrypt with its parameters beside the hash. A name that does not exist costs the same work and gets
 * the same answer as a wrong password.
 */
import { scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto'
import { badField } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { systemRandom, type Random } from '../../core/random.ts'

export interface PasswordHasher {
  /** Throws ERR_INPUT_INVALID naming `field` for a password that is too short or too long. */
  hash(password: string, field?: string): Promise<string>
  /** Whether it is the password; `stored` undefined (no such user, no password) takes as long and is false. */
  verify(password: string, stored: string | undefined): Promise<boolean>
}

/** 32 MiB and some 60 ms for each try. */
const COST = { N: 2 ** 15, r: 8, p: 1 } as const
const KEY_BYTES = 32
const SALT_BYTES = 16

function derive(password: string, salt: Buffer): Promise<Buffer> {
  const options: ScryptOptions = { ...COST, maxmem: 256 * COST.N * COST.r }
  return new Promise((resolve, reject) => {
    // One password has one spelling, however the keyboard composed it.
    scrypt(password.normalize('NFC'), salt, KEY_BYTES, options, (error, key) =>
      error ? reject(error) : resolve(key),
    )
  })
}

const FORM = /^scrypt\$32768\$8\$1\$([A-Za-z0-9_-]{22})\$([A-Za-z0-9_-]{43})$/

export function createPasswordHasher(random: Random = systemRandom): PasswordHasher {
  const dummySalt = random.bytes(SALT_BYTES)
  return {
    async hash(password, field = 'password') {
      if ([...password].length < LIMITS.passwordMin.value)
        throw badField(field, `use at least ${LIMITS.passwordMin.value} characters`)
      if (Buffer.byteLength(password) > LIMITS.passwordMax.value)
        throw badField(field, `use at most ${LIMITS.passwordMax.value} bytes`)
      const salt = random.bytes(SALT_BYTES)
      const key = await derive(password, salt)
      return `scrypt$${COST.N}$${COST.r}$${COST.p}$${salt.toString('base64url')}$${key.toString('base64url')}`
    },
    async verify(password, stored) {
      const [, salt, key] = FORM.exec(stored ?? '') ?? []
      const made = await derive(password, salt ? Buffer.from(salt, 'base64url') : dummySalt)
      const wanted = Buffer.from(key ?? '', 'base64url')
      return wanted.length === made.length && timingSafeEqual(made, wanted)
    },
  }
}
