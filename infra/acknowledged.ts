/** Findings of the security checks that we keep on purpose, each with its reason. */
import { Validations } from 'aws-cdk-lib'
import type { Construct } from 'constructs'

interface Acknowledged {
  readonly id: string
  readonly reason: string
}
const nag = (id: string, reason: string): Acknowledged => ({
  id: `AwsSolutions::AwsSolutions-${id}`,
  reason,
})

export const ACKNOWLEDGED = {
  network: [
    nag(
      'VPC7',
      'Flow logs are billed by the gigabyte of a data path; who reached what is in the audit log, with names in place of addresses.',
    ),
    nag('EC23', 'The one port that agents and users dial; every tunnel proves a certificate.'),
    nag(
      'ELB2',
      'Access logs of a network load balancer name addresses and bytes of TLS connections; the proxies log the same with the identity behind it.',
    ),
  ],
  proxies: [
    nag(
      'ECS2',
      'The variables name the table, the API and the bundle with its hash. There is no secret: the task joins by its role.',
    ),
    nag(
      'ECS4',
      'Container Insights costs more than the proxies it would watch; they report what matters themselves, in three metrics.',
    ),
  ],
  agents: [
    nag(
      'AS3',
      'Scaling notices go nowhere: an agent that comes or goes is in the audit log and in postern ls.',
    ),
  ],
  small: [
    nag(
      'IAM5[Resource::*]',
      'ec2:DescribeNetworkInterfaces, by which the task finds its own address, has no narrower resource.',
    ),
  ],
  plane: [
    nag(
      'APIG4',
      'The functions authenticate: API keys, and requests signed by the key of a certificate, which no gateway authorizer knows.',
    ),
    nag(
      'IAM5[Resource::<Records091F6ECA.Arn>/events/*]',
      'archive puts objects whose names are dates below events/; it can neither read, list nor delete.',
    ),
    nag(
      'IAM5[Resource::arn:aws:kms:*:*:key/*]',
      'Keys that a rotation made have no ARN yet: tags say which cluster and which CA they belong to, and whoever uses one is held to its tags.',
    ),
    nag(
      'IAM5[Resource::*]',
      'kms:CreateKey has no narrower resource; the tags of the new key are prescribed.',
    ),
    nag(
      'IAM5[Resource::<rotateFunction1E3FA709.Arn>:*]',
      'The scheduler may call any version of the one function it is for.',
    ),
    nag(
      'IAM5[Resource::<archiveFunction0B51110D.Arn>:*]',
      'The scheduler may call any version of the one function it is for.',
    ),
  ],
} as const satisfies Record<string, readonly Acknowledged[]>

export function acknowledge(scope: Construct, group: keyof typeof ACKNOWLEDGED): void {
  for (const { id, reason } of ACKNOWLEDGED[group])
    Validations.of(scope).acknowledge({ id, reason })
}
