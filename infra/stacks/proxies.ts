/**
 * The proxies: tasks of Fargate on arm64 with public addresses, the public image of Node, and a loader in the task definition that
 * fetches the proxy and checks its hash (docs/adr/0042). Profile standard: two, behind the load balancer. Profile small: one, and the
 * DNS name follows it.
 */
import { Arn, ArnFormat, CfnOutput, Duration, Stack, type StackProps } from 'aws-cdk-lib'
import { Metric, type IMetric } from 'aws-cdk-lib/aws-cloudwatch'
import { Peer, Port, SecurityGroup, SubnetType } from 'aws-cdk-lib/aws-ec2'
import {
  Cluster,
  ContainerInsights,
  CpuArchitecture,
  FargateService,
  FargateTaskDefinition,
  OperatingSystemFamily,
  type ICluster,
} from 'aws-cdk-lib/aws-ecs'
import { PolicyStatement, type Role } from 'aws-cdk-lib/aws-iam'
import { Asset } from 'aws-cdk-lib/aws-s3-assets'
import type { Construct } from 'constructs'
import { KEY_ACCESS } from '../../functions/store/key-access.ts'
import { acknowledge } from '../acknowledged.ts'
import type { Artefacts } from '../artefacts.ts'
import { posternAlarm } from '../constructs/alarm.ts'
import { DIAG_PORT, DRAIN_SECONDS, proxyContainer } from '../constructs/proxy-container.ts'
import { JoinRule } from '../constructs/join-rule.ts'
import { grantKeys } from '../constructs/key-grants.ts'
import { proxyDoor } from '../constructs/proxy-door.ts'
import type { DeployContext } from '../context.ts'
import type { TaskSettings } from '../proxy-task/task.ts'
import type { ControlPlane } from './control-plane.ts'
import type { Network } from './network.ts'

/** Behind the load balancer any port will do; without one it is the one that clients dial. */
const PORT = { standard: 3080, small: 443 } as const
/** Of a task, in units of which a processor has CPU_UNITS. A task with several gets a worker for each. */
const CPU: number = 256
const CPU_UNITS = 1024
/** Tunnels per task that auto scaling aims at: 38 KB each, in 1 GB. */
const TUNNELS = 8000
/** Of these, where the alarm goes off: the process takes 10,000. */
const TUNNELS_FULL = 9500
const TASKS_MAX = 10

export interface ProxiesProps extends StackProps {
  readonly network: Network
  readonly plane: ControlPlane
  readonly artefacts: Artefacts
}

export class Proxies extends Stack {
  private readonly service: FargateService
  private readonly least: number
  private readonly port: number

  constructor(scope: Construct, id: string, context: DeployContext, props: ProxiesProps) {
    super(scope, id, props)
    const { network, plane } = props
    this.port = PORT[context.profile]
    this.least = context.profile === 'small' ? 1 : 2
    const task = new FargateTaskDefinition(this, 'Task', {
      cpu: CPU,
      memoryLimitMiB: context.profile === 'small' ? 512 : 1024,
      runtimePlatform: {
        cpuArchitecture: CpuArchitecture.ARM64,
        operatingSystemFamily: OperatingSystemFamily.LINUX,
      },
      volumes: [{ name: 'work' }],
    })
    const role = task.taskRole as Role
    const rule = new JoinRule(this, 'JoinRule', {
      table: plane.table,
      tokenName: 'postern-proxy',
      roles: ['Proxy'],
      role,
      session: '*',
    })
    grantKeys(role, KEY_ACCESS.proxy, plane.table)
    const program = new Asset(this, 'Program', { path: props.artefacts.proxy.path })
    // The one object, and not the bucket that holds every stack's files.
    role.addToPolicy(
      new PolicyStatement({
        actions: ['s3:GetObject'],
        resources: [program.bucket.arnForObjects(program.s3ObjectKey)],
      }),
    )
    const dns = context.profile === 'small' ? this.name(role, context) : undefined
    const settings: TaskSettings = {
      region: this.region,
      api: plane.api.apiEndpoint,
      table: plane.table.tableName,
      tokenName: rule.tokenName,
      address: network.address,
      port: this.port,
      diagPort: DIAG_PORT,
      drainSeconds: DRAIN_SECONDS,
      workers: Math.max(1, Math.floor(CPU / CPU_UNITS)),
      cluster: context.cluster,
      bundle: {
        bucket: program.s3BucketName,
        key: program.s3ObjectKey,
        sha256: props.artefacts.proxy.sha256,
      },
      ...(dns && { dns }),
    }
    proxyContainer(this, task, settings)
    this.service = this.run(task, network, context)
    // A task that cannot join yet would be started over and over.
    this.service.node.addDependency(rule)
    const balancer =
      network.door && proxyDoor(this, context, network.vpc, network.door, this.service, this.port)
    this.scale(context)
    this.watch(context, plane, balancer)
    new CfnOutput(this, 'ProxyAddress', { value: network.address })
    acknowledge(this, 'proxies')
    if (dns) acknowledge(this, 'small')
  }

  /** Profile small: the task may move this one name, and look up which address it has. */
  private name(role: Role, context: DeployContext): { zone: string; name: string } {
    const { zone, domain } = context
    if (zone === undefined || domain === undefined) throw new Error('profile small has a domain')
    role.addToPolicy(
      new PolicyStatement({
        actions: ['route53:ChangeResourceRecordSets'],
        resources: [
          Arn.format(
            {
              service: 'route53',
              region: '',
              account: '',
              resource: 'hostedzone',
              resourceName: zone,
              arnFormat: ArnFormat.SLASH_RESOURCE_NAME,
            },
            this,
          ),
        ],
        conditions: {
          'ForAllValues:StringEquals': {
            'route53:ChangeResourceRecordSetsNormalizedRecordNames': [domain],
            'route53:ChangeResourceRecordSetsRecordTypes': ['A'],
            'route53:ChangeResourceRecordSetsActions': ['UPSERT'],
          },
        },
      }),
    )
    // AWS knows no narrower resource for a Describe.
    role.addToPolicy(
      new PolicyStatement({ actions: ['ec2:DescribeNetworkInterfaces'], resources: ['*'] }),
    )
    return { zone, name: domain }
  }

  private run(
    task: FargateTaskDefinition,
    network: Network,
    context: DeployContext,
  ): FargateService {
    const { vpc, door } = network
    const securityGroup = new SecurityGroup(this, 'Group', {
      vpc,
      description: 'Postern proxies: reached through the load balancer, and by each other',
    })
    const port = Port.tcp(this.port)
    securityGroup.addIngressRule(securityGroup, port, 'proxies relay for each other')
    if (!door) securityGroup.addIngressRule(Peer.anyIpv4(), port, 'agents and users dial in')
    const cluster = new Cluster(this, 'Cluster', {
      vpc,
      containerInsightsV2: ContainerInsights.DISABLED,
      enableFargateCapacityProviders: true,
    })
    return new FargateService(this, 'Service', {
      cluster: cluster as ICluster,
      taskDefinition: task,
      desiredCount: this.least,
      assignPublicIp: true,
      vpcSubnets: { subnetType: SubnetType.PUBLIC },
      securityGroups: [securityGroup],
      // The one that always stays is no Spot task; those besides are cheaper and go with two minutes' notice.
      capacityProviderStrategies: [
        { capacityProvider: 'FARGATE', base: 1, weight: context.profile === 'small' ? 1 : 0 },
        ...(context.profile === 'small' ? [] : [{ capacityProvider: 'FARGATE_SPOT', weight: 1 }]),
      ],
      // A new task serves before an old one drains.
      minHealthyPercent: 100,
      maxHealthyPercent: 200,
      circuitBreaker: { rollback: true },
      ...(door && { healthCheckGracePeriod: Duration.minutes(2) }),
    })
  }

  private metric(context: DeployContext, metricName: string, statistic: string): IMetric {
    return new Metric({
      namespace: 'Postern',
      metricName,
      dimensionsMap: { Cluster: context.cluster },
      statistic,
      period: Duration.minutes(1),
    })
  }

  private scale(context: DeployContext): void {
    if (context.profile === 'small') return
    const scaling = this.service.autoScaleTaskCount({
      minCapacity: this.least,
      maxCapacity: TASKS_MAX,
    })
    // Idle tunnels cost memory and no CPU; busy ones the other way round.
    scaling.scaleToTrackCustomMetric('Tunnels', {
      metric: this.metric(context, 'Tunnels', 'Average'),
      targetValue: TUNNELS,
      scaleInCooldown: Duration.minutes(15),
      scaleOutCooldown: Duration.minutes(2),
    })
    scaling.scaleOnCpuUtilization('Cpu', {
      targetUtilizationPercent: 60,
      scaleInCooldown: Duration.minutes(15),
      scaleOutCooldown: Duration.minutes(2),
    })
  }

  private watch(context: DeployContext, plane: ControlPlane, healthy: IMetric | undefined): void {
    const topic = plane.alarms
    const ready = healthy ?? this.metric(context, 'Ready', 'Sum')
    posternAlarm(this, 'no-proxy', {
      metric: ready,
      below: 1,
      periods: 2,
      silenceIsFault: true,
      topic,
    })
    if (this.least > 1)
      posternAlarm(this, 'proxy-down', { metric: ready, below: this.least, periods: 10, topic })
    posternAlarm(this, 'proxy-full', {
      metric: this.metric(context, 'Tunnels', 'Maximum'),
      above: TUNNELS_FULL,
      periods: 5,
      topic,
    })
    posternAlarm(this, 'proxy-stale', {
      metric: this.metric(context, 'PolicyAge', 'Maximum'),
      above: 120,
      periods: 3,
      topic,
    })
  }
}
