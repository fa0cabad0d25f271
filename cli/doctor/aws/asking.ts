/** How the checks of an account ask AWS: what was not allowed is a finding with its remedy, and not the end of the examination. */
import { AppError, isAppError } from '../../../core/errors.ts'
import { AwsRefusal, type AwsApi } from '../../aws/api.ts'
import type { DeployedStack } from '../../aws/stack.ts'
import type { Cli } from '../../cli.ts'
import { Problem, type Examination } from '../examination.ts'

export interface Account {
  readonly cli: Cli
  readonly exam: Examination
  readonly aws: AwsApi
  readonly plane: DeployedStack
  /** undefined while it is not deployed. */
  readonly proxies: DeployedStack | undefined
}

const DENIED = /AccessDenied|NotAuthorized|UnauthorizedOperation/i

/** What AWS said, as a problem of this check. */
export async function asked<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (cause) {
    if (cause instanceof AwsRefusal && DENIED.test(cause.code))
      throw new Problem(
        `this identity may not ${cause.action}`,
        `allow it ${cause.action} (the managed policy ReadOnlyAccess has it), and look again`,
        { code: 'ERR_FORBIDDEN', cause: new AppError('ERR_FORBIDDEN', cause.message, { cause }) },
      )
    if (cause instanceof AwsRefusal)
      throw new Problem(cause.message, 'it was changed outside of the stack: deploy again', {
        cause,
        code: 'ERR_NOT_FOUND',
      })
    if (isAppError(cause) && cause.code === 'ERR_UNREACHABLE')
      throw new Problem(cause.message, 'check the region, and the way to AWS from this machine', {
        cause,
      })
    throw cause
  }
}

export const DEPLOY_AGAIN = 'deploy again: npx cdk deploy --all, with the same -c values as before'

/** Resources of a type in a stack; their physical ids by their logical ones. */
export const ofType = (stack: DeployedStack | undefined, type: string) =>
  (stack?.resources ?? []).filter((one) => one.type === type)
/** Every problem of a list in one finding. */
export function none(problems: readonly string[], well: string, fix: string): string {
  if (problems.length === 0) return well
  throw new Problem(problems.join('; '), fix)
}
