/** Profile small: the DNS name is moved by the task that serves. Whether it names the one that runs now. */
import { resolveName } from '../../../net/probe.ts'
import type { Json } from '../../aws/api.ts'
import { Problem } from '../examination.ts'
import { asked, ofType, type Account } from './asking.ts'

const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const list = (value: unknown): Json[] => (Array.isArray(value) ? (value as Json[]) : [])
const ECS = 'AmazonEC2ContainerServiceV20141113'

async function runningAddresses({ aws }: Account, service: string): Promise<string[]> {
  const [, cluster = '', name = ''] = service.split('/')
  const ask = (operation: string, input: Json) =>
    asked(aws.json('ecs', `${ECS}.${operation}`, input))
  const { taskArns } = await ask('ListTasks', { cluster, serviceName: name })
  const tasks = Array.isArray(taskArns) ? taskArns.map(String) : []
  if (tasks.length === 0) return []
  const described = list((await ask('DescribeTasks', { cluster, tasks }))['tasks'])
  const interfaces = described
    .flatMap((task) => list(task['attachments']))
    .flatMap((attachment) => list(attachment['details']))
    .filter((detail) => detail['name'] === 'networkInterfaceId')
    .map((detail) => text(detail['value']))
  if (interfaces.length === 0) return []
  const xml = await asked(
    aws.query('ec2', {
      Action: 'DescribeNetworkInterfaces',
      Version: '2016-11-15',
      ...Object.fromEntries(interfaces.map((id, i) => [`NetworkInterfaceId.${i + 1}`, id])),
    }),
  )
  return [...xml.matchAll(/<publicIp>([0-9.]{7,15})<\/publicIp>/g)].map(([, ip]) => ip ?? '')
}

/** Only where no load balancer has the name. */
export async function examineName(account: Account): Promise<void> {
  const { cli, exam, proxies } = account
  const address = proxies?.outputs.get('ProxyAddress')
  const [service] = ofType(proxies, 'AWS::ECS::Service')
  if (address === undefined || !service) return
  if (ofType(proxies, 'AWS::ElasticLoadBalancingV2::TargetGroup').length > 0) return
  const host = address.replace(/:\d+$/, '')
  await exam.check('name', host, async () => {
    const running = await runningAddresses(account, service.id)
    const [named = ''] = await resolveName(host, cli.clock)
    if (running.includes(named)) return `names the task that runs, ${named}`
    throw new Problem(
      running.length === 0
        ? `names ${named}, and no task runs`
        : `names ${named}, and the task that runs has ${running.join(', ')}`,
      'a change takes a minute; if it stays, task.name_not_moved in the log group of the service says why',
      { code: 'ERR_UNREACHABLE' },
    )
  })
}
