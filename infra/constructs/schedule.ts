/** Calls a function by the clock. EventBridge asks again on failure, within the hour; the alarm of the function sees what stays. */
import { Duration } from 'aws-cdk-lib'
import type { IFunction } from 'aws-cdk-lib/aws-lambda'
import { Schedule, ScheduleExpression, ScheduleTargetInput } from 'aws-cdk-lib/aws-scheduler'
import { LambdaInvoke } from 'aws-cdk-lib/aws-scheduler-targets'
import type { Construct } from 'constructs'

export function daily(
  scope: Construct,
  id: string,
  fn: IFunction,
  at: { readonly hour: string; readonly minute: string },
): Schedule {
  return new Schedule(scope, id, {
    schedule: ScheduleExpression.cron(at),
    target: new LambdaInvoke(fn, {
      input: ScheduleTargetInput.fromObject({}),
      retryAttempts: 3,
      maxEventAge: Duration.hours(1),
    }),
  })
}
