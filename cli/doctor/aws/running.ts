/** What runs: functions, the proxy service, and what the load balancer thinks of it. */
import type { Json } from '../../aws/api.ts'
import { Problem, warning } from '../examination.ts'
import { asked, DEPLOY_AGAIN, none, ofType, type Account } from './asking.ts'

/** Seconds. */
const DAY = 86_400
/** Days before its end by which ACM has renewed a certificate, if it can at all. */
const RENEWED_BY = 30

const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const object = (value: unknown): Json => (typeof value === 'object' && value ? (value as Json) : {})
const list = (value: unknown): Json[] => (Array.isArray(value) ? (value as Json[]) : [])

/** Functions of ours know the table; those that CDK adds for itself do not. */
export async function examineFunctions(account: Account, table: string): Promise<void> {
  const { exam, aws, plane, proxies } = account
  const keys = ofType(plane, 'AWS::KMS::Key').map(({ id }) => id)
  const functions = [plane, proxies].flatMap((stack) => ofType(stack, 'AWS::Lambda::Function'))
  for (const { logicalId, id } of functions) {
    const name = logicalId.replace(/^(JoinRule)?(\w+?)Function[0-9A-F]{8}$/, '$2')
    await exam.check('function', name, async () => {
      const found = await asked(
        aws.get(
          'lambda',
          `/2015-03-31/functions/${encodeURIComponent(id)}/configuration`,
          'lambda:GetFunctionConfiguration',
        ),
      )
      const environment = object(object(found['Environment'])['Variables'])
      if (environment['POSTERN_TABLE'] === undefined) {
        if (!logicalId.includes('Function')) return 'of the deployment, not of Postern'
        throw new Problem('it is not told of the table', DEPLOY_AGAIN)
      }
      const strange = Object.entries(environment).filter(
        ([variable, value]) =>
          /^POSTERN_\w+_KEY$/.test(variable) && !keys.some((key) => text(value).endsWith(key)),
      )
      return none(
        [
          ...(found['State'] === 'Active' || found['State'] === undefined
            ? []
            : [`its state is ${text(found['State'])}`]),
          ...(found['LastUpdateStatus'] === 'Failed'
            ? [`its last update failed: ${text(found['LastUpdateStatusReason'])}`]
            : []),
          ...(environment['POSTERN_TABLE'] === table
            ? []
            : [`it uses table ${text(environment['POSTERN_TABLE'])}`]),
          ...strange.map(([variable]) => `${variable} is no key of this stack`),
        ],
        `${text(found['Runtime'])}, changed ${text(found['LastModified']).slice(0, 16)}`,
        DEPLOY_AGAIN,
      )
    })
  }
}

/** `arn:aws:ecs:eu-west-1:123456789012:service/CLUSTER/NAME`. */
const clusterOf = (arn: string): string => arn.split('/').at(-2) ?? ''

export async function examineProxyService(account: Account): Promise<void> {
  const { cli, exam, aws, proxies } = account
  for (const { id } of ofType(proxies, 'AWS::ECS::Service'))
    await exam.check('proxies', id.split('/').at(-1) ?? id, async () => {
      const answer = await asked(
        aws.json('ecs', 'AmazonEC2ContainerServiceV20141113.DescribeServices', {
          cluster: clusterOf(id),
          services: [id],
        }),
      )
      const service = object(list(answer['services'])[0])
      const [running, desired] = [
        Number(service['runningCount'] ?? 0),
        Number(service['desiredCount'] ?? 0),
      ]
      const last = text(object(list(service['events'])[0])['message'])
      const fix = `docs/runbook.md#no-proxy; ECS says: ${last === '' ? 'nothing' : last}`
      if (running < Math.max(1, desired))
        throw new Problem(`${running} of ${desired} run`, fix, { code: 'ERR_UNREACHABLE' })
      const rolling = list(service['deployments']).map((d) => text(d['rolloutState']))
      if (rolling.includes('FAILED')) throw new Problem('the last deployment failed', fix)
      if (rolling.includes('IN_PROGRESS'))
        throw warning(`${running} of ${desired} run; a deployment is under way`, 'look again later')
      return `${running} of ${desired} run`
    })
  for (const { id } of ofType(proxies, 'AWS::ElasticLoadBalancingV2::TargetGroup'))
    await exam.check('targets', id.split('/').at(-2) ?? id, async () => {
      const xml = await asked(
        aws.query('elasticloadbalancing', {
          Action: 'DescribeTargetHealth',
          Version: '2015-12-01',
          TargetGroupArn: id,
        }),
      )
      const states = [...xml.matchAll(/<State>([a-z.]{1,32})<\/State>/g)].map(([, state]) => state)
      const healthy = states.filter((state) => state === 'healthy').length
      const reasons = [...xml.matchAll(/<Description>([^<]{1,256})<\/Description>/g)].map(
        (m) => m[1],
      )
      if (healthy === 0)
        throw new Problem(
          states.length === 0
            ? 'no proxy is registered'
            : `none of ${states.length} is healthy (${reasons[0] ?? states[0] ?? ''})`,
          'docs/runbook.md#no-proxy: /readyz of the proxy says no, or its security group does not let the load balancer in',
          { code: 'ERR_UNREACHABLE' },
        )
      const leaving = states.filter((state) => state === 'draining').length
      if (healthy + leaving < states.length)
        throw warning(
          `${healthy} of ${states.length} are healthy`,
          'docs/runbook.md#proxy-down, unless a deployment is under way',
        )
      return `${healthy} healthy`
    })
  for (const { id } of ofType(proxies, 'AWS::CertificateManager::Certificate'))
    await exam.check('certificate', id.split('/').at(-1) ?? id, async () => {
      const answer = await asked(
        aws.json('acm', 'CertificateManager.DescribeCertificate', { CertificateArn: id }),
      )
      const found = object(answer['Certificate'])
      if (found['Status'] === 'ISSUED') {
        const left = Math.floor((Number(found['NotAfter']) - cli.clock.now() / 1000) / DAY)
        if (left >= RENEWED_BY) return `for ${text(found['DomainName'])}, for ${left} days`
        throw new Problem(
          left < 0 ? 'it has expired' : `it ends in ${left} days and was not renewed`,
          'ACM renews 60 days before the end while the validation record is in the zone that the world asks: look at its renewal status',
        )
      }
      throw new Problem(
        `its status is ${text(found['Status'])}`,
        'its validation record must be in the zone that the world asks: check that the domain’s NS records name the zone of postern:zone',
      )
    })
}
