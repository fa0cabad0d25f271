/**
 * Links between policy keys (protocols.md 6: only a rotation signed by the old key changes this key). A link is a JWS of typ
 * `postern-policy-key+jws` by an older key over the next one. Who was away while the key changed walks the links from the key
 * it knows; without a link from there nothing is believed.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import * as z from 'zod'
import { resourceName } from '../domain/name.ts'
import type { JsonWebKeyLike } from '../domain/policy.ts'
import { LIMITS } from '../limits.ts'
import { jwsSign, jwsVerify } from './jws.ts'
import { algorithmOf, thumbprint, type Signer } from './signer.ts'

const TYP = 'postern-policy-key+jws'
const LINK_MAX = 2048
const claims = z.object({
  cluster: resourceName,
  to: z.looseObject({ kty: z.string(), kid: z.string() }),
  issued: z.int(),
})

export const signLink = (
  old: Signer,
  link: { readonly cluster: string; readonly to: JsonWebKeyLike; readonly issued: number },
): Promise<string> => jwsSign(old, { typ: TYP }, link)

/** The key id that a link of our own table leads to; nothing is verified. */
export function untrustedLinkTarget(link: string): string | undefined {
  try {
    const text = Buffer.from(link.split('.')[1] ?? '', 'base64url').toString('utf8')
    return claims.parse(JSON.parse(text)).to.kid
  } catch {
    return undefined
  }
}

async function follow(
  link: string,
  keys: readonly KeyObject[],
  cluster: string,
): Promise<KeyObject | undefined> {
  try {
    const { payload } = await jwsVerify(link, {
      keys,
      algorithms: ['ES256', 'EdDSA'],
      typ: TYP,
      maxBytes: LINK_MAX,
    })
    const { cluster: of, to } = claims.parse(payload)
    if (of !== cluster) return undefined
    const key = createPublicKey({ key: to, format: 'jwk' })
    return algorithmOf(key) && thumbprint(key) === to.kid ? key : undefined
  } catch {
    return undefined
  }
}

/**
 * `keys` and every key that the links lead to from them, one after the other in the order given. A link that does not hold is
 * passed over: whoever handed them out is not trusted.
 */
export async function walkLinks(
  keys: readonly KeyObject[],
  links: readonly string[],
  cluster: string,
): Promise<KeyObject[]> {
  const reached = [...keys]
  for (const link of links.slice(-LIMITS.policyKeyLinks.value)) {
    const next = await follow(link, reached, cluster)
    if (next) reached.push(next)
  }
  return reached
}
