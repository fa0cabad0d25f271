/**
 * Who deployed the cluster, or whom that account gave `execute-api:Invoke` on these routes: API Gateway has verified the request's
 * AWS signature and says whose it is. Without the gateway's word nobody is a deployer: a route deployed without its authorizer
 * answers nothing, and so does every server that has no gateway in front.
 */
import { AppError } from '../../core/errors.ts'
import type { Ctx } from '../http.ts'

export interface Deployer {
  /** ARN of the IAM user or of the role's session. */
  readonly arn: string
}

const ACCOUNT = /^\d{12}$/

export function deployerOf(c: Ctx): Deployer {
  const iam = c.env?.event?.requestContext?.authorizer?.iam
  const refuse = (internal: string) => new AppError('ERR_FORBIDDEN', undefined, { internal })
  if (!iam?.userArn || !iam.accountId) throw refuse('the gateway names no IAM caller')
  const own = c.env.lambdaContext?.invokedFunctionArn?.split(':')[4]
  if (own === undefined || !ACCOUNT.test(own))
    throw refuse('the account of the function is unknown')
  if (iam.accountId !== own) throw refuse(`${iam.userArn} is of another account`)
  return { arn: iam.userArn }
}
