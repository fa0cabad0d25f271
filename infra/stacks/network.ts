/**
 * Where the proxies live: public subnets in two zones, no NAT gateway (agents dial in, proxies dial nothing but AWS and each other), the
 * two gateway endpoints that cost nothing. In profile standard the load balancer too, so that its name is known before anything is
 * told of it.
 */
import { Fn, Stack, type StackProps } from 'aws-cdk-lib'
import {
  GatewayVpcEndpointAwsService,
  IpAddresses,
  Peer,
  Port,
  SecurityGroup,
  SubnetType,
  Vpc,
  type IVpc,
} from 'aws-cdk-lib/aws-ec2'
import { NetworkLoadBalancer } from 'aws-cdk-lib/aws-elasticloadbalancingv2'
import type { Construct } from 'constructs'
import { acknowledge } from '../acknowledged.ts'
import type { DeployContext } from '../context.ts'

const ZONES = 2

export interface Door {
  readonly balancer: NetworkLoadBalancer
  readonly securityGroup: SecurityGroup
}

export class Network extends Stack {
  readonly vpc: IVpc
  /** Profile standard only. */
  readonly door: Door | undefined
  /** `host:port` where agents and users find the proxies. */
  readonly address: string

  constructor(scope: Construct, id: string, context: DeployContext, props: StackProps = {}) {
    super(scope, id, props)
    this.vpc = new Vpc(this, 'Vpc', {
      ipAddresses: IpAddresses.cidr('10.94.0.0/20'),
      maxAzs: ZONES,
      natGateways: 0,
      subnetConfiguration: [
        { name: 'public', subnetType: SubnetType.PUBLIC, cidrMask: 24, mapPublicIpOnLaunch: false },
      ],
      gatewayEndpoints: {
        DynamoDb: { service: GatewayVpcEndpointAwsService.DYNAMODB },
        S3: { service: GatewayVpcEndpointAwsService.S3 },
      },
    }) as IVpc
    this.door = context.profile === 'standard' ? this.openDoor() : undefined
    const host = context.domain ?? this.door?.balancer.loadBalancerDnsName
    if (host === undefined) throw new Error('profile small has a domain')
    this.address = `${host}:443`
    acknowledge(this, 'network')
  }

  /** Zones are asked of CloudFormation: a look-up at synth would need AWS. */
  override get availabilityZones(): string[] {
    return Array.from({ length: ZONES }, (_, i) => Fn.select(i, Fn.getAzs(this.region)))
  }

  private openDoor(): Door {
    const securityGroup = new SecurityGroup(this, 'DoorGroup', {
      vpc: this.vpc,
      description: 'Postern load balancer: the one port that is open to the world',
      allowAllOutbound: false,
    })
    securityGroup.addIngressRule(Peer.anyIpv4(), Port.tcp(443), 'agents and users dial in')
    const balancer = new NetworkLoadBalancer(this, 'Door', {
      vpc: this.vpc,
      internetFacing: true,
      // A stream would otherwise break when the load balancer of one zone has no proxy left beside it.
      crossZoneEnabled: true,
      securityGroups: [securityGroup],
      vpcSubnets: { subnetType: SubnetType.PUBLIC },
    })
    return { balancer, securityGroup }
  }
}
