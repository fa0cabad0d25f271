/**
 * Join method `iam`: the machine signs a call of STS GetCallerIdentity with its AWS credentials, our challenge among the signed
 * headers; we send the call and STS says who signed it. Whatever else the call could say is refused here, because it would
 * otherwise be us who says it to STS: one host list, one method, one path, one body, a few headers, each at most once.
 */
import * as z from 'zod'
import { AppError, reasonOf } from '../errors.ts'
import { parseJson } from '../strict-json.ts'
import { STS_HOSTS } from './aws-regions.ts'
import { awsRefusal } from './aws-rule.ts'
import type { JoinMethod } from './join-method.ts'

export const CHALLENGE_HEADER = 'x-postern-challenge'
export const STS_BODY = 'Action=GetCallerIdentity&Version=2011-06-15'
export const STS_CONTENT_TYPE = 'application/x-www-form-urlencoded; charset=utf-8'

export interface StsAnswer {
  readonly status: number
  readonly contentType: string | undefined
  readonly body: Buffer
}
export interface StsClient {
  /**
   * POSTs to `https://<host>/` with exactly these headers and this body: verified TLS, no redirect, capped and bound in time.
   * Throws ERR_UNREACHABLE or ERR_TIMEOUT.
   */
  call(host: string, headers: Readonly<Record<string, string>>, body: string): Promise<StsAnswer>
}

const evidence = z.strictObject({
  url: z.string().max(256),
  method: z.string().max(16),
  /** Pairs, so that a header given twice is seen. */
  headers: z.array(z.tuple([z.string().max(64), z.string().max(8192)])).max(16),
  body: z.string().max(256),
})
export type IamEvidence = z.output<typeof evidence>

const refuse = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_JOIN_REFUSED', undefined, { internal: `iam: ${internal}`, cause })

/** Headers that STS may be sent, and the only value where there is one. */
const HEADERS: Readonly<Record<string, string | undefined>> = {
  host: undefined,
  accept: 'application/json',
  'content-type': STS_CONTENT_TYPE,
  'content-length': String(STS_BODY.length),
  'x-amz-date': undefined,
  'x-amz-security-token': undefined,
  [CHALLENGE_HEADER]: undefined,
  authorization: undefined,
}
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=[A-Z0-9]{16,128}\/\d{8}\/[a-z0-9-]{2,32}\/sts\/aws4_request, ?SignedHeaders=([a-z0-9;-]{1,512}), ?Signature=[0-9a-f]{64}$/

/** The host that was signed for: the URL is compared as a text, because a URL parser would repair what it should refuse. */
function hostOf({ url }: IamEvidence): string {
  const host = /^https:\/\/([a-z0-9.-]+)\/$/.exec(url)?.[1]
  if (host === undefined || !STS_HOSTS.has(host)) throw refuse('the address is not one of STS')
  return host
}

function headersOf({ headers }: IamEvidence, host: string): Map<string, string> {
  const found = new Map<string, string>()
  for (const [name, value] of headers) {
    const key = name.toLowerCase()
    // An own property, so that `constructor` is no header.
    if (!Object.hasOwn(HEADERS, key)) throw refuse(`header ${JSON.stringify(key)} is not allowed`)
    if (found.has(key)) throw refuse(`header ${key} is given twice`)
    // STS trims and folds spaces before it checks the signature; what it would change is refused.
    if (!/^[\x21-\x7e]+( [\x21-\x7e]+)*$/.test(value)) throw refuse(`header ${key} is malformed`)
    const only = HEADERS[key]
    if (only !== undefined && value.toLowerCase() !== only)
      throw refuse(`header ${key} has another value`)
    found.set(key, value)
  }
  if (found.get('host') !== host) throw refuse('header host is not the host of the address')
  return found
}

/** Checks everything that is ours to check. What is left, the signature and its time, is for STS. */
function checkCall(
  call: IamEvidence,
  challenge: string,
): { host: string; headers: Map<string, string> } {
  const host = hostOf(call)
  if (call.method !== 'POST') throw refuse('the method is not POST')
  if (call.body !== STS_BODY) throw refuse('the body is not the one call that is allowed')
  const headers = headersOf(call, host)
  const signed = AUTHORIZATION.exec(headers.get('authorization') ?? '')?.[1]?.split(';')
  if (!signed) throw refuse('header authorization is not a signature for STS')
  if (new Set(signed).size !== signed.length) throw refuse('a signed header is named twice')
  const missing = signed.find((name) => !headers.has(name))
  if (missing !== undefined) throw refuse(`header ${missing} is signed but was not sent`)
  for (const needed of ['host', 'x-amz-date', 'content-type', CHALLENGE_HEADER])
    if (!signed.includes(needed)) throw refuse(`header ${needed} is not signed`)
  if (headers.has('x-amz-security-token') && !signed.includes('x-amz-security-token'))
    throw refuse('header x-amz-security-token is not signed')
  if (headers.get(CHALLENGE_HEADER) !== challenge)
    throw refuse('the signed challenge is not the one of this join')
  return { host, headers }
}

const ARN = /^arn:aws[a-z-]*:(iam|sts)::(\d{12}):[\x21-\x7e ]{1,1800}$/
const identity = z.object({
  GetCallerIdentityResponse: z.object({
    GetCallerIdentityResult: z.object({
      Account: z.string().regex(/^\d{12}$/),
      Arn: z.string().regex(ARN),
      UserId: z.string().min(1).max(256),
    }),
  }),
})

/** JSON and nothing but JSON: the same bytes read as XML could say something else (CVE-2020-16250). */
function readAnswer(answer: StsAnswer): { account: string; arn: string; userid: string } {
  if (answer.status !== 200) throw refuse(`STS answered ${answer.status}`)
  const type = answer.contentType?.split(';')[0]?.trim().toLowerCase()
  if (type !== 'application/json') throw refuse('STS did not answer with JSON')
  let result
  try {
    result = identity.parse(parseJson(answer.body)).GetCallerIdentityResponse
      .GetCallerIdentityResult
  } catch (cause) {
    throw refuse(`the answer of STS is not as expected: ${reasonOf(cause).slice(0, 200)}`, cause)
  }
  const { Account: account, Arn: arn, UserId: userid } = result
  if (ARN.exec(arn)?.[2] !== account) throw refuse('the ARN is of another account')
  return { account, arn, userid }
}

export function iamMethod({ sts }: { readonly sts: StsClient }): JoinMethod<IamEvidence> {
  return {
    name: 'iam',
    strength: 'bound',
    tokenBy: 'name',
    evidence,
    async verify(call, { sealed, challenge }) {
      const { host, headers } = checkCall(call, sealed)
      headers.set('accept', 'application/json')
      const facts = readAnswer(await sts.call(host, Object.fromEntries(headers), call.body))
      return {
        subject: facts.arn,
        attributes: facts,
        token: { by: 'name', name: challenge.token },
      }
    },
    refusal: (token, { attributes }) =>
      awsRefusal(token.aws?.allow ?? [], {
        account: attributes['account'] ?? '',
        arn: attributes['arn'],
      }),
  }
}
