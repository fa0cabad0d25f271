/**
 * Join method `ec2`: the instance identity document, signed by AWS. It holds no challenge and never expires, so whoever read it once
 * could show it for ever: it counts for a few minutes after the instance started, and for one agent. Prefer `iam`.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import * as z from 'zod'
import { instant, plus, type Instant } from '../clock.ts'
import { AppError, invariant, reasonOf } from '../errors.ts'
import { parseJson } from '../strict-json.ts'
import { IID_KEYS } from './aws-region-keys.ts'
import { awsRefusal } from './aws-rule.ts'
import type { JoinMethod } from './join-method.ts'
import { verifySignedData } from './signed-data.ts'

export interface RegionKey {
  readonly region: string
  readonly key: KeyObject
}
export interface Ec2Deps {
  /** Keys that AWS signs identity documents with. */
  iidKeys(): readonly RegionKey[]
}

let published: readonly RegionKey[] | undefined
/** Those that AWS publishes; read at the first join that needs them. */
export const publishedIidKeys = (): readonly RegionKey[] =>
  (published ??= Object.entries(IID_KEYS).map(([region, spki]) => ({
    region,
    key: createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' }),
  })))

const evidence = z.strictObject({
  /** `/latest/dynamic/instance-identity/rsa2048`, base64 without line ends. */
  rsa2048: z
    .string()
    .max(16_384)
    .regex(/^[A-Za-z0-9+/]+={0,2}$/),
})
export type Ec2Evidence = z.output<typeof evidence>

const document = z.object({
  accountId: z.string().regex(/^\d{12}$/),
  region: z.string().regex(/^[a-z0-9-]{1,32}$/),
  instanceId: z.string().regex(/^i-[0-9a-f]{8,17}$/),
  pendingTime: z.iso.datetime(),
})

/** How far the clock of AWS may be ahead of ours. */
const SKEW = 60_000

const refuse = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_JOIN_REFUSED', undefined, { internal: `ec2: ${internal}`, cause })

/** Only what was signed is parsed: there is no other copy of the document that could say something else. */
function readDocument(given: Ec2Evidence, keys: readonly RegionKey[]): z.output<typeof document> {
  let found
  let region
  try {
    const { content, by } = verifySignedData(Buffer.from(given.rsa2048, 'base64'), keys)
    found = document.parse(parseJson(content))
    region = by.region
  } catch (cause) {
    throw refuse(reasonOf(cause).slice(0, 300), cause)
  }
  if (found.region !== region)
    throw refuse(`signed by the key of ${region} for an instance of ${found.region}`)
  return found
}

function checkAge(pending: Instant, ttl: number, now: Instant): void {
  if (pending > plus(now, SKEW)) throw refuse('the instance starts in the future')
  if (now > plus(pending, ttl))
    throw refuse(`the instance started ${Math.round((now - pending) / 1000)} s ago: too long`)
}

export function ec2Method(deps: Ec2Deps): JoinMethod<Ec2Evidence> {
  return {
    name: 'ec2',
    strength: 'bearer',
    tokenBy: 'name',
    evidence,
    async verify(given, { token, challenge, now }) {
      invariant(token?.aws, 'a token of method ec2 has rules')
      const found = readDocument(given, deps.iidKeys())
      const pending = instant(Date.parse(found.pendingTime))
      checkAge(pending, token.aws.iidTtl, now)
      const instance = `${found.accountId}-${found.instanceId}`
      return {
        subject: `ec2:${instance}`,
        attributes: { account: found.accountId, region: found.region, instance: found.instanceId },
        token: { by: 'name', name: challenge.token },
        spend: {
          id: `ec2:${instance}:${challenge.service}`,
          until: plus(pending, token.aws.iidTtl + SKEW),
        },
      }
    },
    refusal: (token, { attributes }) =>
      awsRefusal(token.aws?.allow ?? [], {
        account: attributes['account'] ?? '',
        region: attributes['region'],
      }),
  }
}
