/** An alarm that says what to do: its text ends with the place in docs/runbook.md. Without data it is calm, unless silence is the fault. */
import {
  Alarm,
  ComparisonOperator,
  TreatMissingData,
  type IMetric,
} from 'aws-cdk-lib/aws-cloudwatch'
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions'
import { Topic } from 'aws-cdk-lib/aws-sns'
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions'
import type { Construct } from 'constructs'

/** Every alarm there is, and what it means. A test holds docs/runbook.md to have a section of each name. */
export const ALARMS = {
  'api-errors': 'The API answered with errors of its own (5xx).',
  'functions-throttled': 'AWS held back function calls: the concurrency of the account is used up.',
  'table-throttled': 'The table held back requests.',
  'archive-failed': 'A day of the audit log could not be copied to the records bucket.',
  'no-proxy': 'No proxy is healthy: nobody reaches anything.',
  'proxy-down': 'Fewer proxies are healthy than there should be.',
  'proxy-full': 'Proxies hold close to as many tunnels as they take, and scaling has not helped.',
  'proxy-stale': 'A proxy cannot renew its lease or read the policy.',
} as const
export type AlarmName = keyof typeof ALARMS

export interface AlarmProps {
  readonly metric: IMetric
  readonly above?: number
  readonly below?: number
  /** Periods in a row. */
  readonly periods: number
  /** No data counts as the fault itself. */
  readonly silenceIsFault?: boolean
  readonly topic: Topic | undefined
}

export function posternAlarm(scope: Construct, name: AlarmName, props: AlarmProps): Alarm {
  const alarm = new Alarm(scope, `alarm-${name}`, {
    alarmDescription: `${ALARMS[name]} What to do: docs/runbook.md#${name}`,
    metric: props.metric,
    threshold: props.above ?? props.below ?? 0,
    comparisonOperator:
      props.above === undefined
        ? ComparisonOperator.LESS_THAN_THRESHOLD
        : ComparisonOperator.GREATER_THAN_THRESHOLD,
    evaluationPeriods: props.periods,
    treatMissingData: props.silenceIsFault
      ? TreatMissingData.BREACHING
      : TreatMissingData.NOT_BREACHING,
  })
  if (props.topic) alarm.addAlarmAction(new SnsAction(props.topic))
  return alarm
}

/** Mails alarms to one address; undefined without one: alarms are then seen in CloudWatch. */
export function alarmTopic(scope: Construct, address: string | undefined): Topic | undefined {
  if (address === undefined) return undefined
  const topic = new Topic(scope, 'AlarmTopic', { enforceSSL: true })
  topic.addSubscription(new EmailSubscription(address))
  return topic
}
