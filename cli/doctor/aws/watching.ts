/** Alarms and logs: whether somebody would hear of it. */
import type { Json } from '../../aws/api.ts'
import { Problem, warning } from '../examination.ts'
import { asked, DEPLOY_AGAIN, ofType, type Account } from './asking.ts'

const list = (value: unknown): Json[] => (Array.isArray(value) ? (value as Json[]) : [])
/** Names of alarms that one DescribeAlarms takes. */
const ALARMS_AT_ONCE = 100

const field = (xml: string, name: string): string =>
  new RegExp(`<${name}>([^<]{0,2048})</${name}>`).exec(xml)?.[1] ?? ''

export async function examineAlarms(account: Account): Promise<void> {
  const { exam, aws, plane, proxies } = account
  for (const stack of [plane, proxies]) {
    const names = ofType(stack, 'AWS::CloudWatch::Alarm').map(({ id }) => id)
    if (!stack || names.length === 0) continue
    await exam.check('alarms', stack.name, async () => {
      const asks = Object.fromEntries(
        names.slice(0, ALARMS_AT_ONCE).map((name, i) => [`AlarmNames.member.${i + 1}`, name]),
      )
      const xml = await asked(
        aws.query('monitoring', { Action: 'DescribeAlarms', Version: '2010-08-01', ...asks }),
      )
      const members = xml.split('<AlarmName>').slice(1)
      const seen = members.map((one) => ({
        name: one.split('<')[0] ?? '',
        state: field(one, 'StateValue'),
        description: field(one, 'AlarmDescription'),
      }))
      const missing = names.filter((name) => !seen.some((one) => one.name === name))
      if (missing.length > 0) throw new Problem(`gone: ${missing.join(', ')}`, DEPLOY_AGAIN)
      const ringing = seen.filter(({ state }) => state === 'ALARM')
      if (ringing.length > 0)
        throw new Problem(
          ringing.map(({ name, description }) => `${name}: ${description}`).join('; '),
          'the text of each names its section of docs/runbook.md',
        )
      const silent = seen.filter(({ state }) => state !== 'OK')
      if (silent.length > 0)
        throw warning(
          `${silent.map(({ name }) => name).join(', ')} have seen no data yet`,
          'after a deployment that passes within ten minutes',
        )
      return `${seen.length} are quiet`
    })
  }
  await exam.check('alarm mail', plane.name, () => {
    if (ofType(plane, 'AWS::SNS::Topic').length > 0) return 'alarms are sent to a topic'
    throw warning('alarms are seen in CloudWatch only', 'deploy with -c postern:alarmEmail=you@…')
  })
}

export async function examineLogs(account: Account): Promise<void> {
  const { exam, aws, plane, proxies } = account
  const groups = [plane, proxies].flatMap((stack) => ofType(stack, 'AWS::Logs::LogGroup'))
  await exam.check('logs', `${groups.length} log groups`, async () => {
    const kept: string[] = []
    const forever: string[] = []
    for (const { id } of groups) {
      const answer = await asked(
        aws.json('logs', 'Logs_20140328.DescribeLogGroups', { logGroupNamePrefix: id }),
      )
      const found = list(answer['logGroups']).find((group) => group['logGroupName'] === id)
      if (!found) throw new Problem(`${id} is gone`, DEPLOY_AGAIN)
      if (found['retentionInDays'] === undefined) forever.push(id)
      else kept.push(id)
    }
    if (forever.length > 0)
      throw new Problem(
        `${forever.join(', ')} keep what they have for ever, and are paid for`,
        `aws logs put-retention-policy --retention-in-days 90 --log-group-name ${forever[0] ?? ''}`,
      )
    return `each forgets after its time`
  })
}
