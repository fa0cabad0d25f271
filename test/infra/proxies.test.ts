// The proxies as they are deployed: who reaches them, what they may touch, how they come and go.
import { Match, type Template } from 'aws-cdk-lib/assertions'
import { Validations } from 'aws-cdk-lib'
import { AwsSolutionsChecks } from 'cdk-nag'
import { describe, expect, test } from 'vitest'
import { KEY_ACCESS } from '../../functions/store/key-access.ts'
import { deployment, listed, statementsOf } from '../support/deployment.ts'

const ZONE = 'Z0123456789ABCDEFGHIJ'
const plain = deployment()
const named = deployment({ domain: 'access.example.com', zone: ZONE })
const small = deployment({ profile: 'small', domain: 'access.example.com', zone: ZONE })
const cases = [
  ['standard without a domain', plain],
  ['standard with a domain', named],
  ['small', small],
] as const

interface Container {
  readonly Command: string[]
  readonly Environment: { Name: string; Value: unknown }[]
  readonly LinuxParameters: { Capabilities: { Drop: string[] } }
  readonly ReadonlyRootFilesystem: boolean
  readonly StopTimeout: number
  readonly PortMappings: { ContainerPort: number }[]
}
const containerOf = (template: Template): Container => {
  const [task] = Object.values(template.findResources('AWS::ECS::TaskDefinition')) as {
    Properties: { ContainerDefinitions: Container[] }
  }[]
  const [container] = task?.Properties.ContainerDefinitions ?? []
  if (!container) throw new Error('no container')
  return container
}
const taskStatements = (template: Template) => statementsOf(template, 'TaskTaskRole')

describe.each(cases)('%s', (_, made) => {
  const proxies = made.template('proxies')
  const network = made.template('network')

  test('public subnets, no NAT gateway, only the endpoints that cost nothing', () => {
    network.resourceCountIs('AWS::EC2::NatGateway', 0)
    const endpoints = Object.values(network.findResources('AWS::EC2::VPCEndpoint')) as {
      Properties: { VpcEndpointType: string }
    }[]
    expect(endpoints.map((e) => e.Properties.VpcEndpointType)).toEqual(['Gateway', 'Gateway'])
    proxies.hasResourceProperties('AWS::ECS::Service', {
      NetworkConfiguration: { AwsvpcConfiguration: { AssignPublicIp: 'ENABLED' } },
    })
  })

  test('arm64, a read-only root, and all the time to drain that Fargate gives', () => {
    proxies.hasResourceProperties('AWS::ECS::TaskDefinition', {
      RuntimePlatform: { CpuArchitecture: 'ARM64', OperatingSystemFamily: 'LINUX' },
    })
    const container = containerOf(proxies)
    expect(container.ReadonlyRootFilesystem).toBe(true)
    expect(container.StopTimeout).toBe(120)
    const settings = JSON.stringify(container.Environment)
    expect(settings).toMatch(/drainSeconds\\":100\b/)
    // A quarter of a processor: the machine under the task has more, and they are not the task's.
    expect(settings).toMatch(/workers\\":1\b/)
  })

  test('touches its own keys of the table and the one object that it runs', () => {
    const statements = taskStatements(proxies)
    const prefixes = statements.flatMap((s) =>
      listed(
        (s.Condition?.['ForAllValues:StringLike']?.['dynamodb:LeadingKeys'] ?? []) as string[],
      ),
    )
    const allowed = [...KEY_ACCESS.proxy.read, ...KEY_ACCESS.proxy.write].map((p) =>
      p.endsWith('#') ? `${p}*` : p,
    )
    expect([...new Set(prefixes)].sort()).toEqual([...new Set(allowed)].sort())
    const actions = statements.flatMap((s) => listed(s.Action))
    expect(actions).not.toContain('dynamodb:Scan')
    expect(actions.filter((a) => !a.startsWith('dynamodb:')).sort()).toEqual(
      made === small
        ? ['ec2:DescribeNetworkInterfaces', 'route53:ChangeResourceRecordSets', 's3:GetObject']
        : ['s3:GetObject'],
    )
    const [object] = statements.filter((s) => listed(s.Action).includes('s3:GetObject'))
    expect(JSON.stringify(object?.Resource)).not.toMatch(/\*/)
  })

  test('may join as a proxy, by its role and no other, through a function that writes that one token', () => {
    const tokens = Object.values(proxies.findResources('Custom::PosternJoinToken')) as {
      Properties: { Token: unknown }
    }[]
    expect(tokens).toHaveLength(1)
    const token = JSON.stringify(tokens[0]?.Properties.Token)
    expect(token).toContain('\\"roles\\":[\\"Proxy\\"]')
    expect(token).toContain('assumed-role/')
    expect(token).toMatch(/"Ref":"TaskTaskRole[^"]*"/)
    const written = statementsOf(proxies, 'JoinRuledeclareRole')
      .filter((s) => listed(s.Action).includes('dynamodb:PutItem'))
      .flatMap((s) =>
        listed(s.Condition?.['ForAllValues:StringLike']?.['dynamodb:LeadingKeys'] as string[]),
      )
    expect(written).toEqual(['TOKEN#postern-proxy', 'EVENT#*', 'EVENTDAY#*'])
  })

  test('holds no secret in what the console shows', () => {
    const text = JSON.stringify(containerOf(proxies).Environment)
    expect(text).not.toMatch(/pst_(join|key)_|PRIVATE KEY|AKIA/)
  })

  test('the AWS solutions checks find nothing that is not acknowledged with a reason', () => {
    Validations.of(made.app).addPlugins(new AwsSolutionsChecks(made.app))
    expect(() => made.app.synth()).not.toThrow()
  })
})

describe('standard', () => {
  test('two tasks, one of them never on Spot, a new one before an old one goes', () => {
    plain.template('proxies').hasResourceProperties('AWS::ECS::Service', {
      DesiredCount: 2,
      CapacityProviderStrategy: [
        { CapacityProvider: 'FARGATE', Base: 1, Weight: 0 },
        { CapacityProvider: 'FARGATE_SPOT', Weight: 1 },
      ],
      DeploymentConfiguration: Match.objectLike({
        MinimumHealthyPercent: 100,
        DeploymentCircuitBreaker: { Enable: true, Rollback: true },
      }),
    })
  })
  test.each([
    ['without a domain the proxy ends TLS', plain, 'TCP', 0],
    ['with a domain the load balancer does, with a certificate', named, 'TLS', 1],
  ] as const)('%s', (_, made, protocol, certificates) => {
    const template = made.template('proxies')
    template.hasResourceProperties('AWS::ElasticLoadBalancingV2::Listener', {
      Port: 443,
      Protocol: protocol,
    })
    template.hasResourceProperties('AWS::ElasticLoadBalancingV2::TargetGroup', {
      Protocol: protocol,
      HealthCheckProtocol: 'HTTPS',
      HealthCheckPath: '/readyz',
      TargetGroupAttributes: Match.arrayWith([
        { Key: 'deregistration_delay.timeout_seconds', Value: '100' },
        { Key: 'preserve_client_ip.enabled', Value: 'true' },
      ]),
    })
    template.resourceCountIs('AWS::CertificateManager::Certificate', certificates)
    template.resourceCountIs('AWS::Route53::RecordSet', certificates)
  })
  test('the world reaches one port of the load balancer, and the proxies only through it', () => {
    const open = (template: Template): unknown[] => {
      const groups = Object.values(template.findResources('AWS::EC2::SecurityGroup')) as {
        Properties: { SecurityGroupIngress?: { CidrIp?: string; FromPort: number }[] }
      }[]
      return groups
        .flatMap((g) => g.Properties.SecurityGroupIngress ?? [])
        .filter((rule) => rule.CidrIp !== undefined)
        .map((rule) => rule.FromPort)
    }
    expect(open(plain.template('network'))).toEqual([443])
    expect(open(plain.template('proxies'))).toEqual([])
  })
  test('scales by tunnels and by CPU', () => {
    const policies = Object.values(
      plain.template('proxies').findResources('AWS::ApplicationAutoScaling::ScalingPolicy'),
    )
    const text = JSON.stringify(policies)
    expect(policies).toHaveLength(2)
    expect(text).toContain('"MetricName":"Tunnels"')
    expect(text).toContain('ECSServiceAverageCPUUtilization')
  })
})

describe('small', () => {
  const template = small.template('proxies')
  test('one task that clients dial themselves, no load balancer', () => {
    small.template('network').resourceCountIs('AWS::ElasticLoadBalancingV2::LoadBalancer', 0)
    template.hasResourceProperties('AWS::ECS::Service', { DesiredCount: 1 })
    const container = containerOf(template)
    expect(container.PortMappings.map((p) => p.ContainerPort)).toEqual([443])
    expect(container.LinuxParameters.Capabilities.Drop).not.toContain('NET_BIND_SERVICE')
    expect(container.LinuxParameters.Capabilities.Drop).toContain('SETUID')
  })
  // What it stops: whoever takes over a proxy moves the mail of the zone as well.
  test('may move the one name it is found by', () => {
    const [dns] = taskStatements(template).filter((s) =>
      listed(s.Action).includes('route53:ChangeResourceRecordSets'),
    )
    expect(JSON.stringify(dns?.Resource)).toContain(`hostedzone/${ZONE}`)
    expect(dns?.Condition?.['ForAllValues:StringEquals']).toEqual({
      'route53:ChangeResourceRecordSetsNormalizedRecordNames': ['access.example.com'],
      'route53:ChangeResourceRecordSetsRecordTypes': ['A'],
      'route53:ChangeResourceRecordSetsActions': ['UPSERT'],
    })
  })
})
