/**
 * Profile standard: how the load balancer hands connections to the proxies. With a domain it ends TLS with the certificate and opens TLS
 * again towards the proxy; without one it passes bytes on, and the proxy's own certificate (of the host CA) is what clients see.
 */
import { Duration, type Stack } from 'aws-cdk-lib'
import { Certificate, CertificateValidation } from 'aws-cdk-lib/aws-certificatemanager'
import type { IMetric } from 'aws-cdk-lib/aws-cloudwatch'
import { Port, type IVpc } from 'aws-cdk-lib/aws-ec2'
import type { FargateService } from 'aws-cdk-lib/aws-ecs'
import {
  AlpnPolicy,
  NetworkListener,
  NetworkTargetGroup,
  Protocol,
  SslPolicy,
  type IListenerCertificate,
  type INetworkLoadBalancer,
} from 'aws-cdk-lib/aws-elasticloadbalancingv2'
import { ARecord, HostedZone, RecordTarget } from 'aws-cdk-lib/aws-route53'
import { LoadBalancerTarget } from 'aws-cdk-lib/aws-route53-targets'
import type { DeployContext } from '../context.ts'
import type { Door } from '../stacks/network.ts'

/** Clients are told to leave when the task gets SIGTERM; until then what runs goes on. */
const DEREGISTRATION = Duration.seconds(100)

function certificateOf(stack: Stack, context: DeployContext, door: Door): IListenerCertificate[] {
  const { domain, zone, certificate } = context
  if (domain === undefined) return []
  const hostedZone =
    zone === undefined
      ? undefined
      : HostedZone.fromHostedZoneAttributes(stack, 'Zone', {
          hostedZoneId: zone,
          // Only names are made of it, and the name is given in full.
          zoneName: domain,
        })
  if (hostedZone)
    new ARecord(stack, 'Name', {
      zone: hostedZone,
      recordName: `${domain}.`,
      target: RecordTarget.fromAlias(new LoadBalancerTarget(door.balancer)),
    })
  if (certificate !== undefined)
    return [Certificate.fromCertificateArn(stack, 'Certificate', certificate)]
  if (!hostedZone) throw new Error('a domain has a zone or a certificate')
  return [
    new Certificate(stack, 'Certificate', {
      domainName: domain,
      validation: CertificateValidation.fromDns(hostedZone),
    }),
  ]
}

/** Registers the service. Returns the count of healthy proxies, as the load balancer sees them. */
export function proxyDoor(
  stack: Stack,
  context: DeployContext,
  vpc: IVpc,
  door: Door,
  service: FargateService,
  port: number,
): IMetric {
  const certificates = certificateOf(stack, context, door)
  const tls = certificates.length > 0
  const group = new NetworkTargetGroup(stack, 'Targets', {
    vpc,
    port,
    protocol: tls ? Protocol.TLS : Protocol.TCP,
    preserveClientIp: true,
    deregistrationDelay: DEREGISTRATION,
    connectionTermination: false,
    healthCheck: {
      protocol: Protocol.HTTPS,
      path: '/readyz',
      interval: Duration.seconds(10),
      timeout: Duration.seconds(5),
      healthyThresholdCount: 2,
      unhealthyThresholdCount: 2,
    },
    targets: [service.loadBalancerTarget({ containerName: 'proxy', containerPort: port })],
  })
  const listener = new NetworkListener(stack, 'Listener', {
    loadBalancer: door.balancer as INetworkLoadBalancer,
    port: 443,
    protocol: tls ? Protocol.TLS : Protocol.TCP,
    ...(tls && {
      certificates,
      sslPolicy: SslPolicy.RECOMMENDED_TLS,
      alpnPolicy: AlpnPolicy.HTTP1_ONLY,
    }),
    defaultTargetGroups: [group],
  })
  service.node.addDependency(listener)
  // The group of the load balancer stands for every client, also where their own addresses are kept.
  service.connections.allowFrom(door.securityGroup, Port.tcp(port), 'through the load balancer')
  return group.metrics.healthyHostCount({ period: Duration.minutes(1), statistic: 'Minimum' })
}
