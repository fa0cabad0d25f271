/**
 * The context values of `cdk deploy -c postern:name=value`, checked before anything is built: a typo stops synth with a sentence that
 * says what to write instead. docs/deploy.md shows the table CONTEXT.
 */
import type { Node } from 'constructs'
import { isResourceName } from '../core/domain/name.ts'
import { REGIONS } from './regions.ts'

export type Profile = 'standard' | 'small'

export interface DeployContext {
  /** Cluster name; part of every certificate. */
  readonly cluster: string
  readonly profile: Profile
  /** DNS name of the proxies; undefined: the load balancer's own name, and TLS by the host CA. */
  readonly domain: string | undefined
  /** Route 53 hosted zone that `domain` is a name of. */
  readonly zone: string | undefined
  /** ARN of an ACM certificate for `domain`; undefined with `zone` and profile standard: the stack asks for one. */
  readonly certificate: string | undefined
  /** AWS region; undefined: whatever the AWS configuration of the deployer says. */
  readonly region: string | undefined
  readonly account: string | undefined
  /** Days for which recordings and the archived audit log cannot be deleted by anyone. */
  readonly keepDays: number
  /** Where alarms are mailed; undefined: they are seen in CloudWatch only. */
  readonly alarmEmail: string | undefined
  /** Instances of the agent pool; 0: no such stack. */
  readonly agents: number
  /** Name of a table that was restored and takes the place of the stack's own; undefined: the stack makes one. */
  readonly table: string | undefined
}

interface ContextValue {
  readonly form: string
  readonly default: string
  readonly meaning: string
}
export const CONTEXT = {
  cluster: {
    form: '`[a-z0-9.-]`, 1 to 63',
    default: '`postern`',
    meaning: 'Name of the cluster, part of every certificate. It cannot be changed later.',
  },
  profile: {
    form: '`standard` or `small`',
    default: '`standard`',
    meaning:
      'standard: two proxies over two zones behind a load balancer. small: one proxy, no load balancer, the DNS name follows it.',
  },
  domain: {
    form: 'host name',
    default: 'none',
    meaning: 'Where agents and users find the proxies, as access.example.com.',
  },
  zone: {
    form: 'hosted zone id',
    default: 'none',
    meaning: 'Route 53 zone of the domain, as Z0123456789ABCDEFGHIJ; small needs it.',
  },
  certificate: {
    form: 'ACM ARN',
    default: 'asked for when there is a zone',
    meaning: 'Certificate for the domain, in the region of the stack; standard only.',
  },
  region: {
    form: 'AWS region',
    default: "the deployer's",
    meaning: 'Where everything is. Regions: infra/regions.ts.',
  },
  keepDays: {
    form: '1 to 3650',
    default: '365',
    meaning: 'Days for which recordings and the archived audit log are locked against deletion.',
  },
  alarmEmail: {
    form: 'address',
    default: 'none',
    meaning: 'Gets a mail when an alarm goes off; AWS asks it to confirm once.',
  },
  agents: {
    form: '0 to 500',
    default: '0',
    meaning: 'Instances of the agent pool `PosternAgents`; 0: no pool.',
  },
  table: {
    form: 'DynamoDB table',
    default: 'the stack makes one',
    meaning: 'A restored table that takes its place (docs/operations/backup.md).',
  },
} as const satisfies Record<string, ContextValue>
type Name = keyof typeof CONTEXT
const NAMES = Object.keys(CONTEXT) as Name[]

export class ContextError extends Error {
  override readonly name = 'ContextError'
}
const wrong = (name: Name, sentence: string): ContextError =>
  new ContextError(`postern:${name}: ${sentence}`)

const HOST_NAME =
  /^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$/
const CERTIFICATE = /^arn:aws:acm:([a-z0-9-]+):(\d{12}):certificate\/[0-9a-f-]{36}$/

/** How many letters two words differ by, roughly: enough to guess what was meant. */
function distance(a: string, b: string): number {
  const row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    let corner = row[0] ?? 0
    row[0] = i
    for (let j = 1; j <= b.length; j++) {
      const above = row[j] ?? 0
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      row[j] = Math.min(above + 1, (row[j - 1] ?? 0) + 1, corner + cost)
      corner = above
    }
  }
  return row[b.length] ?? 0
}

function checkNames(given: readonly string[]): void {
  for (const key of given) {
    // `-c domain=…` without the prefix would be dropped in silence.
    const bare = key.replace(/^postern[:.]/i, '')
    const ours = key.startsWith('postern')
    if (NAMES.includes(bare as Name) && key === `postern:${bare}`) continue
    const near = NAMES.toSorted((a, b) => distance(a, bare) - distance(b, bare))[0] ?? ''
    // Names of the CDK and of others hold a ":" or "/"; a bare word near one of ours lacks its prefix.
    if (!ours && (/[:/@]/.test(key) || distance(near, bare) > 2)) continue
    const known = NAMES.map((name) => `postern:${name}`).join(', ')
    throw new ContextError(
      distance(near, bare) <= 3
        ? `${key} is not a context value; did you mean postern:${near}?`
        : `${key} is not a context value; use ${known}`,
    )
  }
}

type Source = Pick<Node, 'tryGetContext' | 'getAllContext'>

/** Text of a value; undefined when absent or empty. */
function text(node: Source, name: Name): string | undefined {
  const value: unknown = node.tryGetContext(`postern:${name}`)
  if (value === undefined || value === null || value === '') return undefined
  if (typeof value === 'string') return value
  if (typeof value === 'number') return String(value)
  throw wrong(name, `give one value, as in -c postern:${name}=VALUE`)
}

function count(node: Source, name: Name, from: number, to: number, otherwise: number): number {
  const given = text(node, name)
  if (given === undefined) return otherwise
  const number = /^\d{1,6}$/.test(given) ? Number(given) : Number.NaN
  if (number >= from && number <= to) return number
  throw wrong(name, `use a number from ${from} to ${to}, not "${given}"`)
}

function readRegion(node: Source, deployer: string | undefined): string | undefined {
  const given = text(node, 'region') ?? deployer
  if (given === undefined) return undefined
  if (REGIONS.includes(given)) return given
  const near = REGIONS.toSorted((a, b) => distance(a, given) - distance(b, given))[0] ?? ''
  throw wrong(
    'region',
    `"${given}" is no region that this can be deployed to; the nearest name is ${near}, infra/regions.ts lists all and why others are missing`,
  )
}

function readTable(node: Source): string | undefined {
  const table = text(node, 'table')
  if (table === undefined || /^[A-Za-z0-9_.-]{3,255}$/.test(table)) return table
  throw wrong('table', `"${table}" is no table name; aws dynamodb list-tables prints them`)
}

function checkCertificate(c: Omit<DeployContext, 'agents' | 'table'>): void {
  const { certificate, region, account } = c
  if (certificate === undefined) return
  const parts = CERTIFICATE.exec(certificate)
  if (!parts)
    throw wrong(
      'certificate',
      `"${certificate}" is no ACM certificate; use its ARN, as in arn:aws:acm:eu-west-1:123456789012:certificate/…`,
    )
  if (c.domain === undefined)
    throw wrong('certificate', 'a certificate needs its name: add -c postern:domain=NAME')
  if (c.profile === 'small')
    throw wrong(
      'certificate',
      'the small profile has no load balancer that could use it; leave it out, or use -c postern:profile=standard',
    )
  if (region !== undefined && parts[1] !== region)
    throw wrong(
      'certificate',
      `it is in ${parts[1]} and the load balancer will be in ${region}; request one in ${region}`,
    )
  if (account !== undefined && parts[2] !== account)
    throw wrong('certificate', `it belongs to account ${parts[2]}, this deploys to ${account}`)
}

/** Which names, zone and certificate go together. */
function checkTogether(c: Omit<DeployContext, 'agents' | 'table'>): void {
  if (c.zone !== undefined && c.domain === undefined)
    throw wrong(
      'zone',
      'a zone alone names nothing: add -c postern:domain=NAME, a name in that zone',
    )
  if (c.profile === 'small' && (c.domain === undefined || c.zone === undefined))
    throw wrong(
      'profile',
      "small has no load balancer, and its one proxy's address changes with every start: give -c postern:domain=NAME -c postern:zone=ID, or use standard, which works without a domain",
    )
  if (c.profile === 'standard' && c.domain !== undefined && !c.zone && !c.certificate)
    throw wrong(
      'domain',
      'standard ends TLS with a certificate for this name: add -c postern:zone=ID (one is then requested and renewed) or -c postern:certificate=ARN',
    )
  checkCertificate(c)
}

function readDomain(node: Source): string | undefined {
  const domain = text(node, 'domain')
  if (domain === undefined || HOST_NAME.test(domain)) return domain
  throw wrong(
    'domain',
    `"${domain}" is no host name; use lower case letters, as access.example.com`,
  )
}

function readZone(node: Source): string | undefined {
  const zone = text(node, 'zone')
  if (zone === undefined || /^Z[A-Z0-9]{7,31}$/.test(zone)) return zone
  throw wrong(
    'zone',
    `"${zone}" is no hosted zone id; aws route53 list-hosted-zones prints it, as Z0123456789ABCDEFGHIJ`,
  )
}

/** Reads `-c postern:<name>=value`. `deployer`: account and region of whoever deploys, as the CDK tells them. Throws ContextError. */
export function readContext(
  node: Source,
  deployer: { readonly region?: string | undefined; readonly account?: string | undefined } = {},
): DeployContext {
  checkNames(Object.keys(node.getAllContext() as Record<string, unknown>))
  const cluster = text(node, 'cluster') ?? 'postern'
  if (!isResourceName(cluster))
    throw wrong('cluster', 'use 1 to 63 of a-z, 0-9, "." and "-", as in -c postern:cluster=example')
  const profile = text(node, 'profile') ?? 'standard'
  if (profile !== 'standard' && profile !== 'small')
    throw wrong('profile', `use standard or small, not "${profile}"`)
  const alarmEmail = text(node, 'alarmEmail')
  if (alarmEmail !== undefined && !/^[^@\s]{1,64}@[^@\s]{3,190}$/.test(alarmEmail))
    throw wrong('alarmEmail', `"${alarmEmail}" is no mail address`)
  const context = {
    cluster,
    profile,
    domain: readDomain(node),
    zone: readZone(node),
    certificate: text(node, 'certificate'),
    region: readRegion(node, deployer.region),
    account: deployer.account,
    keepDays: count(node, 'keepDays', 1, 3650, 365),
    alarmEmail,
  } as const
  checkTogether(context)
  return { ...context, agents: count(node, 'agents', 0, 500, 0), table: readTable(node) }
}
