/** A user: who signs in, with which roles and traits. The password hash is a secret of the login function alone. */
import * as z from 'zod'
import type { Instant } from '../clock.ts'
import { handleName, userName } from './name.ts'

/** Free attributes of a user, as an identity provider gives them. `logins` fills `{{internal.logins}}` in roles. */
export type Traits = Readonly<Record<string, readonly string[]>>
const traitName = z
  .string()
  .regex(/^[A-Za-z0-9_.:/-]{1,128}$/, 'use letters, digits and "_ . : / -"')
export const traits = z
  .record(traitName, z.array(z.string().min(1).max(256)).max(64))
  .refine((t) => Object.keys(t).length <= 64, 'at most 64 traits')

export interface User {
  readonly name: string
  readonly roles: readonly string[]
  readonly traits: Traits
  readonly created: Instant
}

export const userResource = z.strictObject({
  kind: z.literal('user'),
  version: z.literal('v2'),
  metadata: z.strictObject({
    name: userName,
    description: z.string().max(1024).optional(),
  }),
  spec: z.strictObject({
    roles: z.array(handleName).min(1, 'name at least one role').max(64),
    traits: traits.optional(),
    /** Write only: hashed with scrypt at once, never shown again. */
    password: z.string().optional(),
  }),
})
