/** Passwords are kept as scrypt, checked in constant time, and nobody learns who exists. */
import { scryptSync } from 'node:crypto'
import { expect, test } from 'vitest'
import { createPasswordHasher } from '../../../functions/login/password.ts'

const hasher = createPasswordHasher()
const PASSWORD = 'correct horse battery'

test('a hash is scrypt with N=2^15, r=8, p=1 and a salt of its own', async () => {
  const [one, two] = [await hasher.hash(PASSWORD), await hasher.hash(PASSWORD)]
  expect(one).not.toBe(two)
  const [, name, n, r, p, salt = '', key] =
    /^(\w+)\$(\d+)\$(\d+)\$(\d+)\$(.+)\$(.+)$/.exec(one) ?? []
  expect([name, n, r, p]).toEqual(['scrypt', '32768', '8', '1'])
  expect(Buffer.from(salt, 'base64url')).toHaveLength(16)
  const made = scryptSync(PASSWORD, Buffer.from(salt, 'base64url'), 32, {
    N: 32_768,
    r: 8,
    p: 1,
    maxmem: 2 ** 28,
  })
  expect(made.toString('base64url')).toBe(key)
})

test('only the password verifies', async () => {
  const stored = await hasher.hash(PASSWORD)
  expect(await hasher.verify(PASSWORD, stored)).toBe(true)
  expect(await hasher.verify(`${PASSWORD} `, stored)).toBe(false)
  expect(await hasher.verify('', stored)).toBe(false)
})

// An answer that comes sooner for unknown names would list the users.
test('a missing or broken hash is false, after the same work', async () => {
  for (const stored of [undefined, '', 'scrypt$1$1$1$a$b', 'plain'])
    expect(await hasher.verify(PASSWORD, stored)).toBe(false)
})

test('too short and too long are refused before any work', async () => {
  await expect(hasher.hash('eleven char')).rejects.toMatchObject({ code: 'ERR_INPUT_INVALID' })
  await expect(hasher.hash('é'.repeat(600))).rejects.toMatchObject({ code: 'ERR_INPUT_INVALID' })
})
