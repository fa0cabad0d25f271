/**
 * The addresses of AWS STS, by exact name. A machine that joins by `iam` says which of them it signed for, so this list is the
 * whole defence against being sent to a server of its own (CVE-2020-16250): no patterns, nothing derived from what was sent.
 * The region codes are those that the AWS documentation of STS endpoints lists; a new region is one more word here.
 */
const COMMERCIAL = [
  'af-south-1',
  'ap-east-1',
  'ap-east-2',
  'ap-northeast-1',
  'ap-northeast-2',
  'ap-northeast-3',
  'ap-south-1',
  'ap-south-2',
  'ap-southeast-1',
  'ap-southeast-2',
  'ap-southeast-3',
  'ap-southeast-4',
  'ap-southeast-5',
  'ap-southeast-7',
  'ca-central-1',
  'ca-west-1',
  'eu-central-1',
  'eu-central-2',
  'eu-north-1',
  'eu-south-1',
  'eu-south-2',
  'eu-west-1',
  'eu-west-2',
  'eu-west-3',
  'il-central-1',
  'me-central-1',
  'me-south-1',
  'mx-central-1',
  'sa-east-1',
  'us-east-1',
  'us-east-2',
  'us-west-1',
  'us-west-2',
] as const
const GOVERNMENT = ['us-gov-east-1', 'us-gov-west-1'] as const
const CHINA = ['cn-north-1', 'cn-northwest-1'] as const
/** Where STS has a second name for FIPS 140 validated modules. */
const FIPS = ['us-east-1', 'us-east-2', 'us-west-1', 'us-west-2'] as const

export const AWS_REGIONS: ReadonlySet<string> = new Set([...COMMERCIAL, ...GOVERNMENT, ...CHINA])

/** The host of STS in a region; the global one for a region that the table does not have. */
export const stsHostOf = (region: string | undefined): string =>
  region !== undefined && (CHINA as readonly string[]).includes(region)
    ? `sts.${region}.amazonaws.com.cn`
    : region !== undefined && AWS_REGIONS.has(region)
      ? `sts.${region}.amazonaws.com`
      : 'sts.amazonaws.com'

export const STS_HOSTS: ReadonlySet<string> = new Set([
  'sts.amazonaws.com',
  ...[...AWS_REGIONS].map(stsHostOf),
  ...FIPS.map((region) => `sts-fips.${region}.amazonaws.com`),
])
