/**
 * The allow rules of tokens for methods `iam` and `ec2`, in the words that existing token files use, and whether facts satisfy
 * them: all fields of a rule must, one rule is enough. Accounts are compared whole, never by pattern (CVE-2025-11621).
 */
import * as z from 'zod'
import { badField } from '../errors.ts'
import { globMatches } from '../glob.ts'
import { AWS_REGIONS } from './aws-regions.ts'

export interface AwsRule {
  readonly account: string
  /** `iam`: pattern of the caller's ARN; `*` is any run of characters, `?` any one. */
  readonly arn: string | undefined
  /** `ec2`: regions that the instance may be in; undefined is any. */
  readonly regions: readonly string[] | undefined
}

const ACCOUNT = /^\d{12}$/

export const awsAllow = z
  .array(
    z.strictObject({
      aws_account: z
        .string()
        .regex(ACCOUNT, 'use the 12 digits of an account, in quotes')
        .optional(),
      aws_arn: z.string().min(1).max(2048).optional(),
      aws_regions: z
        .array(z.string().refine((region) => AWS_REGIONS.has(region), 'no region of this name'))
        .min(1)
        .max(64)
        .optional(),
    }),
  )
  .min(1, 'a token without a rule would admit nobody: give at least one')
  .max(100)
type AwsAllow = z.output<typeof awsAllow>

export const AWS_SUGGESTIONS = {
  aws_role:
    'it says by which role to look instances up, which is not done here: leave it out (aws_iid_ttl bounds the age of an instance), or use join_method iam with aws_arn',
  aws_organization_id:
    'what AWS signs for a machine does not name its organization, and the control plane asks AWS nothing else: name each aws_account',
  organizational_units: 'organizations are not looked up: name each aws_account',
} as const

/** Rules from a file, with fields that belong to the other method refused by path. */
export function awsRules(method: 'iam' | 'ec2', allow: AwsAllow): AwsRule[] {
  return allow.map((rule, at) => {
    const path = (field: string): string => `spec.allow.${at}.${field}`
    if (method === 'iam' && rule.aws_regions)
      throw badField(path('aws_regions'), 'credentials have no region: this is for ec2')
    if (method === 'ec2' && rule.aws_arn !== undefined)
      throw badField(path('aws_arn'), 'an instance has no ARN of its own here: this is for iam')
    // An ARN that spells out its account says as much as aws_account; one with a pattern there says nothing.
    const named = /^arn:aws[a-z-]*:(?:iam|sts)::(\d{12}):/.exec(rule.aws_arn ?? '')?.[1]
    const account = rule.aws_account ?? named
    if (account === undefined)
      throw badField(path('aws_account'), 'needed: an account is always named in full')
    if (named !== undefined && named !== account)
      throw badField(path('aws_arn'), 'names another account than aws_account')
    return { account, arn: rule.aws_arn, regions: rule.aws_regions }
  })
}

/** The rules as a token file has them. */
export const awsAllowOf = (rules: readonly AwsRule[]): AwsAllow =>
  rules.map((rule) => ({
    aws_account: rule.account,
    ...(rule.arn === undefined ? {} : { aws_arn: rule.arn }),
    ...(rule.regions ? { aws_regions: [...rule.regions] } : {}),
  }))

export interface AwsFacts {
  readonly account: string
  readonly arn?: string | undefined
  readonly region?: string | undefined
}

/** Why no rule admits these facts, or undefined when one does. The reason is for the audit log. */
export function awsRefusal(rules: readonly AwsRule[], facts: AwsFacts): string | undefined {
  const ofAccount = rules.filter((rule) => rule.account === facts.account)
  if (ofAccount.length === 0) return `no rule allows account ${facts.account}`
  const ofArn = ofAccount.filter(
    ({ arn }) => arn === undefined || (facts.arn !== undefined && globMatches(arn, facts.arn)),
  )
  if (ofArn.length === 0) return `no rule allows ${facts.arn ?? 'a caller without an ARN'}`
  const ofRegion = ofArn.filter(
    ({ regions }) => !regions || (facts.region !== undefined && regions.includes(facts.region)),
  )
  return ofRegion.length === 0 ? `no rule allows region ${facts.region ?? '(none)'}` : undefined
}
