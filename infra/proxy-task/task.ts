/** What a proxy's task knows of itself, and what it makes of it: addresses, the proxy's configuration file, its DNS name. */
import type { AwsCredentials } from '../../core/aws/sigv4.ts'
import { callAws } from './aws.ts'

/** Told by the task definition. One JSON text, so that nothing has to be quoted twice. */
export interface TaskSettings {
  readonly region: string
  /** Origin of the control plane. */
  readonly api: string
  readonly table: string
  readonly tokenName: string
  /** Where agents and users find the proxies; `host:port`. */
  readonly address: string
  /** Where this container listens. */
  readonly port: number
  readonly diagPort: number
  readonly drainSeconds: number
  /** Processes: a task sees the processors of the machine under it, which are not all its own. */
  readonly workers: number
  readonly cluster: string
  readonly bundle: { readonly bucket: string; readonly key: string; readonly sha256: string }
  /** Profile small: the name follows this task. */
  readonly dns?: { readonly zone: string; readonly name: string }
  /** Origins of an emulator, by service; default: AWS. */
  readonly endpoints?: Readonly<Record<string, string>>
}

const ANSWER_MAX = 256 * 1024

/** The task's own address inside the network: where other proxies find it. */
export async function privateAddress(
  env: Readonly<Record<string, string | undefined>>,
): Promise<string> {
  const url = env['ECS_CONTAINER_METADATA_URI_V4']
  if (!url) throw new Error('no metadata endpoint: this is no task of ECS')
  const answer = await fetch(url, { signal: AbortSignal.timeout(5000) })
  const document = (await answer.json()) as { Networks?: { IPv4Addresses?: string[] }[] }
  const address = document.Networks?.[0]?.IPv4Addresses?.[0]
  if (!address || !/^\d{1,3}(\.\d{1,3}){3}$/.test(address))
    throw new Error('the metadata endpoint names no address')
  return address
}

/** The file of `postern serve proxy`; JSON is YAML. TLS is by the proxy's own certificate, of the host CA. */
export function proxyConfig(settings: TaskSettings, dataDir: string, own: string): string {
  return JSON.stringify({
    version: 'v1',
    postern: {
      nodename: `proxy-${own.replaceAll('.', '-')}`,
      data_dir: dataDir,
      api_server: settings.api,
      join_params: { method: 'iam', token_name: settings.tokenName },
      log: { output: 'stdout', format: 'json' },
      diag_addr: `127.0.0.1:${settings.diagPort}`,
    },
    store: { table: settings.table, region: settings.region },
    proxy_service: {
      listen_addr: `0.0.0.0:${settings.port}`,
      public_addr: [settings.address],
      peer_addr: `${own}:${settings.port}`,
      drain_timeout: `${settings.drainSeconds}s`,
      workers: settings.workers,
    },
  })
}

const originOf = (settings: TaskSettings, service: string, host: string): string =>
  settings.endpoints?.[service] ?? `https://${host}`

/** The address that the world sees; ECS does not tell a task. */
export async function publicAddress(
  settings: TaskSettings,
  own: string,
  credentials: AwsCredentials,
): Promise<string> {
  const { region } = settings
  const query = new URLSearchParams({
    Action: 'DescribeNetworkInterfaces',
    Version: '2016-11-15',
    'Filter.1.Name': 'private-ip-address',
    'Filter.1.Value.1': own,
  })
  const answer = await callAws(
    {
      method: 'POST',
      origin: originOf(settings, 'ec2', `ec2.${region}.amazonaws.com`),
      path: '/',
      service: 'ec2',
      region,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: query.toString(),
      max: ANSWER_MAX,
    },
    credentials,
  )
  const found = /<publicIp>(\d{1,3}(?:\.\d{1,3}){3})<\/publicIp>/.exec(answer.toString('utf8'))?.[1]
  if (found === undefined) throw new Error('this task has no public address')
  return found
}

/** Seconds that resolvers keep the address: how long a client may try the old one. */
const TTL = 30

/** Points the name to this task, whatever it pointed to before. */
export async function moveName(
  settings: TaskSettings & { readonly dns: NonNullable<TaskSettings['dns']> },
  address: string,
  credentials: AwsCredentials,
): Promise<void> {
  const { zone, name } = settings.dns
  const record = `<Name>${name}.</Name><Type>A</Type><TTL>${TTL}</TTL><ResourceRecords><ResourceRecord><Value>${address}</Value></ResourceRecord></ResourceRecords>`
  const change = `<Change><Action>UPSERT</Action><ResourceRecordSet>${record}</ResourceRecordSet></Change>`
  await callAws(
    {
      method: 'POST',
      origin: originOf(settings, 'route53', 'route53.amazonaws.com'),
      path: `/2013-04-01/hostedzone/${zone}/rrset`,
      service: 'route53',
      region: 'us-east-1',
      headers: { 'content-type': 'application/xml' },
      body: `<?xml version="1.0"?><ChangeResourceRecordSetsRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><ChangeBatch><Changes>${change}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>`,
      max: ANSWER_MAX,
    },
    credentials,
  )
}

/** A program that is larger is none of ours. */
const BUNDLE_MAX = 64 * 1024 * 1024

export async function fetchBundle(
  settings: TaskSettings,
  credentials: AwsCredentials,
): Promise<Buffer> {
  const { bucket, key } = settings.bundle
  const { region } = settings
  const emulator = settings.endpoints?.['s3']
  return callAws(
    {
      method: 'GET',
      origin: emulator ?? `https://${bucket}.s3.${region}.amazonaws.com`,
      path: emulator ? `/${bucket}/${key}` : `/${key}`,
      service: 's3',
      region,
      max: BUNDLE_MAX,
    },
    credentials,
  )
}
