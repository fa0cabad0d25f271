/** From the fields of a token file that belong to join methods to the token's rules; fields of another method are refused by path. */
import type * as z from 'zod'
import type { JoinMethodName } from '../domain/join-method.ts'
import type { JoinToken } from '../domain/token.ts'
import { badField } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { awsRules, type awsAllow } from './aws-rule.ts'
import { boundKeypairRules, type boundKeypairSpec } from './bound-keypair-rule.ts'

export interface RuleFields {
  readonly allow?: z.output<typeof awsAllow> | undefined
  readonly aws_iid_ttl?: number | undefined
  readonly bound_keypair?: z.output<typeof boundKeypairSpec> | undefined
}

/** Which fields each method has; the others are refused. */
const FIELDS: Partial<Record<JoinMethodName, readonly (keyof RuleFields)[]>> = {
  iam: ['allow'],
  ec2: ['allow', 'aws_iid_ttl'],
  bound_keypair: ['bound_keypair'],
}

export function tokenRules(
  method: JoinMethodName,
  spec: RuleFields,
): Pick<JoinToken, 'aws' | 'boundKeypair'> {
  for (const field of ['allow', 'aws_iid_ttl', 'bound_keypair'] as const)
    if (spec[field] !== undefined && !FIELDS[method]?.includes(field))
      throw badField(`spec.${field}`, `does not belong to join method ${method}`)
  switch (method) {
    case 'iam':
    case 'ec2': {
      if (!spec.allow) throw badField('spec.allow', `join method ${method} needs rules`)
      const iidTtl = spec.aws_iid_ttl ?? LIMITS.iidTtlDefault.value
      return { aws: { allow: awsRules(method, spec.allow), iidTtl } }
    }
    case 'bound_keypair':
      return { boundKeypair: boundKeypairRules(spec.bound_keypair ?? {}) }
    default:
      return {}
  }
}
