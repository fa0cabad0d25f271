/** Calls a function by the clock. EventBridge asks again on failure, within the hour; the alarm of the function sees what stays. */
import { Duration } from 'aws-cdk-lib'
import type { IFunction } from 'aws-cdk-lib/aws-lambda'
import { Schedule, ScheduleExpression, ScheduleTargetInput } from 'aws-cdk-lib/aws-scheduler'
import { LambdaInvoke } from 'aws-cdk-lib/aws-scheduler-targets'
import type { Construct } from 'constructs'

/** What a function sees of a call by the clock, as EventBridge events have it. */
const BY_CLOCK = ScheduleTargetInput.fromObject({ source: 'postern.schedule' })

export function hourly(scope: Construct, id: string, fn: IFunction): Schedule {
  return called(scope, id, fn, ScheduleExpression.rate(Duration.hours(1)))
}

export function daily(
  scope: Construct,
  id: string,
  fn: IFunction,
  at: { readonly hour: string; readonly minute: string },
): Schedule {
  return called(scope, id, fn, ScheduleExpression.cron(at))
}

function called(
  scope: Construct,
  id: string,
  fn: IFunction,
  schedule: ScheduleExpression,
): Schedule {
  return new Schedule(scope, id, {
    schedule,
    target: new LambdaInvoke(fn, {
      input: BY_CLOCK,
      retryAttempts: 3,
      maxEventAge: Duration.hours(1),
    }),
  })
}
