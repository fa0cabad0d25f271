/**
 * What a user certificate says about its user beside the name: roles, traits and unix logins. In X.509 they are one private,
 * non-critical extension (OID.posternUser: a UTF8String of JSON), so that stock software still accepts the certificate. In SSH
 * certificates the logins are the principals, and `roles@postern` and `traits@postern` are JSON.
 */
import * as z from 'zod'
import { handleName, unixLogin } from '../domain/name.ts'
import { traits } from '../domain/user.ts'
import { AppError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { DerReader, TAG, utf8String } from './der.ts'
import { OID } from './oids.ts'
import type { SshCertificate } from './ssh-certificate.ts'
import type { Certificate } from './x509-read.ts'
import type { Extension } from './x509.ts'

export interface UserAttributes {
  readonly roles: readonly string[]
  readonly traits: Readonly<Record<string, readonly string[]>>
  /** Unix logins. In an SSH certificate they are the principals. */
  readonly logins: readonly string[]
}

const ROLES_EXTENSION = 'roles@postern'
const TRAITS_EXTENSION = 'traits@postern'

const roleNames = z.array(handleName).max(64)
const logins = z.array(unixLogin).max(LIMITS.certPrincipals.value)
const attributes = z.strictObject({ roles: roleNames, traits, logins })

/** DEL is legal in JSON but not in the texts of an SSH certificate. */
const encode = (value: unknown): string => JSON.stringify(value).replaceAll('\u007f', '\\u007f')

const broken = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_CERT_INVALID', undefined, { internal: `user attributes: ${internal}`, cause })

/** For signing: refuses what `decode` would refuse later. */
function checked<S extends z.ZodType>(schema: S, value: z.input<S>): string {
  if (!schema.safeParse(value).success)
    throw new AppError('ERR_CERT_REQUEST_REFUSED', 'a role, trait or login has a wrong form')
  const text = encode(value)
  if (Buffer.byteLength(text) > LIMITS.userAttributes.value)
    throw new AppError('ERR_CERT_REQUEST_REFUSED', 'roles and traits are too large together')
  return text
}

function decode<S extends z.ZodType>(schema: S, text: string | undefined): z.output<S> {
  if (text === undefined) throw broken('not there')
  if (Buffer.byteLength(text) > LIMITS.userAttributes.value) throw broken('too large')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw broken('not JSON', cause)
  }
  // One text for one value: a field that is there twice, or spaces, would not come out the same again.
  if (encode(value) !== text) throw broken('JSON is not canonical')
  const result = schema.safeParse(value)
  if (!result.success) throw broken('wrong shape', result.error)
  return result.data
}

/** Throws ERR_CERT_REQUEST_REFUSED when they are malformed or above LIMITS.userAttributes. */
export function userExtension(user: UserAttributes): Extension {
  const { roles, traits, logins } = user
  const text = checked(attributes, {
    roles: [...roles],
    traits: copyOf(traits),
    logins: [...logins],
  })
  return { oid: OID.posternUser, critical: false, value: utf8String(text) }
}

/** To merge into the `extensions` of the SSH certificate, whose principals are the logins. */
export function userSshExtensions(
  user: Pick<UserAttributes, 'roles' | 'traits'>,
): Record<string, string> {
  return {
    [ROLES_EXTENSION]: checked(roleNames, [...user.roles]),
    [TRAITS_EXTENSION]: checked(traits, copyOf(user.traits)),
  }
}

const copyOf = (from: UserAttributes['traits']): Record<string, string[]> =>
  Object.fromEntries(Object.entries(from).map(([name, values]) => [name, [...values]]))

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Throws ERR_CERT_INVALID. */
export function attributesOfCertificate(certificate: Certificate): UserAttributes {
  const value = certificate.extension(OID.posternUser)
  if (!value) throw broken('not there')
  const reader = new DerReader(value)
  const content = reader.expect(TAG.utf8String).content
  reader.end()
  let text: string
  try {
    text = utf8.decode(content)
  } catch (cause) {
    throw broken('not UTF-8', cause)
  }
  return decode(attributes, text)
}

/** Throws ERR_CERT_INVALID. */
export function attributesOfSshCertificate(certificate: SshCertificate): UserAttributes {
  const { extensions, principals } = certificate
  const result = logins.safeParse([...principals])
  if (!result.success) throw broken('a principal is not a unix login')
  return {
    roles: decode(roleNames, extensions.get(ROLES_EXTENSION)),
    traits: decode(traits, extensions.get(TRAITS_EXTENSION)),
    logins: result.data,
  }
}
