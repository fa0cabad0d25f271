/** Claims of a verified id token. Their shape is the issuer's, so every reader asks for the type that it can use. */
export type Claims = Readonly<Record<string, unknown>>

/** A claim of the token's own, never something that every object has. */
export const claim = (claims: Claims, name: string): unknown =>
  Object.hasOwn(claims, name) ? claims[name] : undefined

export const text = (claims: Claims, name: string): string | undefined => {
  const value = claim(claims, name)
  return typeof value === 'string' ? value : undefined
}

export const texts = (claims: Claims, name: string): readonly string[] => {
  const value = claim(claims, name)
  return Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : []
}

const isObject = (value: unknown): value is Claims =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A claim that is an object; without it, an empty one. */
export const object = (claims: Claims, name: string): Claims => {
  const value = claim(claims, name)
  return isObject(value) ? value : {}
}

/** What lies at a path of names; undefined when there is nothing. */
export const at = (claims: Claims, path: readonly string[]): unknown =>
  path.reduce<unknown>((value, name) => (isObject(value) ? claim(value, name) : undefined), claims)
