/**
 * A group of EC2 instances that are agents from their first minute: they join by `iam` with the role of the pool (no secret anywhere), run
 * the agent of this deployment from its artefact bucket, and are replaced one after the other when anything of that changes.
 *
 *     new AgentPool(stack, 'Web', { plane, artefacts, vpc, name: 'web', labels: { env: 'prod' } })
 */
import { Duration, Tags } from 'aws-cdk-lib'
import { AutoScalingGroup, GroupMetrics, Signals, UpdatePolicy } from 'aws-cdk-lib/aws-autoscaling'
import {
  AmazonLinuxCpuType,
  BlockDeviceVolume,
  EbsDeviceVolumeType,
  InstanceType,
  LaunchTemplate,
  MachineImage,
  SecurityGroup,
  SubnetType,
  UserData,
  type IVpc,
  type SubnetSelection,
} from 'aws-cdk-lib/aws-ec2'
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam'
import { Asset } from 'aws-cdk-lib/aws-s3-assets'
import { Construct } from 'constructs'
import type { Artefacts } from '../artefacts.ts'
import type { ControlPlane } from '../stacks/control-plane.ts'
import { JoinRule } from './join-rule.ts'

export interface AgentPoolProps {
  readonly plane: ControlPlane
  readonly artefacts: Artefacts
  readonly vpc: IVpc
  /** Where the instances are. Default: public subnets with public addresses, as a VPC without NAT has them. */
  readonly subnets?: SubnetSelection
  /** Name of the pool and of its join token. `[a-z0-9-]`, 1 to 32. */
  readonly name: string
  /** Labels of every node, which roles match: put on it by the token, so that the machine cannot change them; also tags of the instance. */
  readonly labels?: Readonly<Record<string, string>>
  /** Default 1. */
  readonly capacity?: number
  /** An arm64 type. Default `t4g.small`. */
  readonly instanceType?: string
}

const NAME = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/
const LABEL = /^[A-Za-z0-9_./-]{1,128}$/

/** What the first start runs. Nothing in it is secret: user data can be read by everything on the instance. */
function firstStart(pool: AgentPoolProps, archive: Asset, sha256: string, token: string): string[] {
  const config = JSON.stringify({
    version: 'v1',
    postern: {
      proxy_server: pool.plane.api.apiEndpoint,
      join_params: { method: 'iam', token_name: token },
    },
    ssh_service: { enabled: true },
  })
  return [
    'set -eu',
    'work=$(mktemp -d)',
    `aws s3 cp --only-show-errors 's3://${archive.s3BucketName}/${archive.s3ObjectKey}' "$work/agent.tar.gz"`,
    `echo '${sha256}  '"$work/agent.tar.gz" | sha256sum -c -`,
    'mkdir -p /opt/postern',
    'tar -xzf "$work/agent.tar.gz" -C "$work" --no-same-owner',
    `mv "$work/postern" /opt/postern/${sha256.slice(0, 12)}`,
    `ln -sfn ${sha256.slice(0, 12)} /opt/postern/current`,
    'ln -sfn /opt/postern/current/bin/postern /usr/local/bin/postern',
    // JSON is YAML. The name is the instance's, which no other instance has.
    `umask 077; cat > /etc/postern.yaml <<'POSTERN'\n${config}\nPOSTERN`,
    'umask 022; /usr/local/bin/postern agent install -c /etc/postern.yaml',
  ]
}

export class AgentPool extends Construct {
  readonly role: Role
  readonly group: AutoScalingGroup
  readonly tokenName: string

  constructor(scope: Construct, id: string, props: AgentPoolProps) {
    super(scope, id)
    const { name, labels = {}, capacity = 1, plane, artefacts, vpc } = props
    if (!NAME.test(name))
      throw new Error(
        `AgentPool: "${name}" is no name for a pool; use a-z, 0-9 and "-", at most 32`,
      )
    for (const label of Object.keys(labels))
      if (!LABEL.test(label)) throw new Error(`AgentPool: "${label}" is no label`)
    this.role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('ec2.amazonaws.com'),
      description: `Postern agents of pool ${name}: to be recognised, and to fetch their program`,
    })
    const rule = new JoinRule(this, 'JoinRule', {
      table: plane.table,
      tokenName: `pool-${name}`,
      roles: ['Node', 'App'],
      role: this.role,
      session: 'i-*',
      forcedLabels: { ...labels, pool: name },
      sharedNames: true,
    })
    this.tokenName = rule.tokenName
    const archive = new Asset(this, 'Agent', { path: artefacts.agent.arm64.path })
    this.role.addToPolicy(
      new PolicyStatement({
        actions: ['s3:GetObject'],
        resources: [archive.bucket.arnForObjects(archive.s3ObjectKey)],
      }),
    )
    const userData = UserData.forLinux()
    const template = new LaunchTemplate(this, 'Template', {
      machineImage: MachineImage.latestAmazonLinux2023({ cpuType: AmazonLinuxCpuType.ARM_64 }),
      instanceType: new InstanceType(props.instanceType ?? 't4g.small'),
      role: this.role,
      userData,
      // Version 2 alone, and not for what runs in a container on it.
      requireImdsv2: true,
      httpPutResponseHopLimit: 1,
      instanceMetadataTags: true,
      securityGroup: new SecurityGroup(this, 'Group', {
        vpc,
        description: `Postern agents of pool ${name}: they dial out, nobody dials in`,
      }),
      blockDevices: [
        {
          deviceName: '/dev/xvda',
          volume: BlockDeviceVolume.ebs(8, {
            encrypted: true,
            volumeType: EbsDeviceVolumeType.GP3,
          }),
        },
      ],
    })
    this.group = new AutoScalingGroup(this, 'Instances', {
      vpc,
      vpcSubnets: props.subnets ?? { subnetType: SubnetType.PUBLIC },
      launchTemplate: template,
      minCapacity: capacity,
      maxCapacity: capacity + 1,
      groupMetrics: [GroupMetrics.all()],
      signals: Signals.waitForMinCapacity({ timeout: Duration.minutes(10) }),
      updatePolicy: UpdatePolicy.rollingUpdate({
        maxBatchSize: 1,
        minInstancesInService: capacity,
      }),
    })
    userData.addSignalOnExitCommand(this.group)
    userData.addCommands(
      ...firstStart(props, archive, artefacts.agent.arm64.sha256, rule.tokenName),
    )
    // An instance that comes before its rule would be refused.
    this.group.node.addDependency(rule)
    // Discovery finds machines by tags; these say that this one needs no discovering.
    Tags.of(this.group).add('postern:pool', name)
    for (const [key, value] of Object.entries(labels))
      Tags.of(this.group).add(`postern:label:${key}`, value)
  }
}
