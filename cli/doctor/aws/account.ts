/**
 * `postern doctor --aws`: the first look at a deployed cluster, by somebody who may read the account. It asks AWS what is there, goes the
 * way that agents and users go, and changes nothing.
 */
import { caBundle } from '../../../core/domain/cluster.ts'
import { readCertificate } from '../../../core/certs/x509-read.ts'
import { isAppError } from '../../../core/errors.ts'
import { parse } from '../../../core/parse.ts'
import { VERSION } from '../../../core/version.ts'
import { ping } from '../../../core/domain/cluster.ts'
import { apiClient } from '../../../net/http-client.ts'
import { systemTrust } from '../../../net/trust.ts'
import { awsApi } from '../../aws/api.ts'
import { outputOf, readStack, type DeployedStack } from '../../aws/stack.ts'
import type { Cli } from '../../cli.ts'
import { Problem, warning, type Examination } from '../examination.ts'
import { examineDiscovery, examineProxy, examineWay, type Way } from '../hops.ts'
import type { Account } from './asking.ts'
import { DEPLOY_AGAIN } from './asking.ts'
import { examineFunctions, examineProxyService } from './running.ts'
import { examineName } from './name.ts'
import { examineRecords, examineSchedules } from './records.ts'
import { examineKeys, examineTable } from './storage.ts'
import { examineAlarms, examineLogs } from './watching.ts'

export interface AwsExamination {
  /** Of the control plane. */
  readonly stack?: string | undefined
  readonly proxiesStack?: string | undefined
  readonly region?: string | undefined
}

const IN_ORDER = /^(CREATE|UPDATE|IMPORT)_COMPLETE$/
const RUNNING = /_IN_PROGRESS$/

function statusOf({ status, region }: DeployedStack): string {
  if (IN_ORDER.test(status)) return `${status} in ${region}`
  if (RUNNING.test(status)) throw warning(status, 'wait for the deployment, then look again')
  throw new Problem(
    status,
    `the last deployment did not go through: its events in CloudFormation say why; then ${DEPLOY_AGAIN}`,
  )
}

async function stackOf(
  exam: Examination,
  name: string,
  region: string | undefined,
): Promise<DeployedStack | undefined> {
  let found: DeployedStack | undefined
  await exam.check('stack', name, async () => {
    found = await readStack(name, region, true).catch((cause: unknown) => {
      if (!isAppError(cause)) throw cause
      throw new Problem(cause.message, hintOf(cause), { cause })
    })
    return statusOf(found)
  })
  return found
}
const hintOf = (e: Error): string =>
  'hint' in e && typeof e.hint === 'string' ? e.hint : 'check --stack, --region and the credentials'

export async function examineAws(
  cli: Cli,
  exam: Examination,
  options: AwsExamination,
): Promise<void> {
  const plane = await stackOf(exam, options.stack ?? 'Postern', options.region)
  if (!plane) return
  const proxies = await stackOf(exam, options.proxiesStack ?? 'PosternProxies', plane.region)
  const aws = awsApi(cli, plane.region, () => plane.credentials())
  const account: Account = { cli, exam, aws, plane, proxies }
  const table = outputOf(plane, 'TableName')
  await examineTable(account, table)
  await examineKeys(account)
  await examineFunctions(account, table)
  await examineSchedules(account)
  await examineRecords(account)
  await examineWays(account)
  await examineProxyService(account)
  await examineName(account)
  await examineAlarms(account)
  await examineLogs(account)
}

/** As an agent would come: to the API by its public certificate, to the proxies by theirs and their own proof. */
async function examineWays(account: Account): Promise<void> {
  const { cli, exam, plane, proxies } = account
  const { httpsProxy } = cli.env
  const origin = outputOf(plane, 'ApiUrl')
  const way: Way = { cli, exam, origin, trust: systemTrust, pins: [], httpsProxy }
  const reached = await examineWay(way)
  const found = await examineDiscovery(way, plane.outputs.get('Cluster'), [reached])
  const api = apiClient({ ...cli, baseUrl: origin, trust: systemTrust, proxy: httpsProxy })
  let hostCas: string[] = []
  try {
    await exam.check(
      'version',
      origin,
      async () => {
        const { version } = parse(ping, await api.request('GET', '/v1/ping'))
        const { host } = parse(caBundle, await api.request('GET', '/v1/ca'))
        hostCas = host.x509
        if (version === VERSION) return version
        throw warning(
          `the API runs ${version}, this command is ${VERSION}`,
          'use the checkout that was deployed, or deploy this one',
        )
      },
      [found !== undefined],
    )
  } finally {
    api.close()
  }
  const address = proxies?.outputs.get('ProxyAddress')
  if (address === undefined || !found) return
  await exam.check('addresses', address, () => {
    if (found.proxies.includes(address)) return 'the API tells agents of it'
    throw new Problem(
      `the API tells agents of ${found.proxies.join(', ') || 'no proxy'}`,
      DEPLOY_AGAIN,
    )
  })
  const there: Way = {
    ...way,
    origin: `https://${address}`,
    trust: { system: true, ca: hostCas, anyProxy: true },
  }
  const open = await examineWay(there)
  await examineProxy(
    there,
    {
      cluster: found.cluster,
      hostCas: hostCas.map((pem) => readCertificate(pem)),
      purpose: 'agent',
    },
    [open, hostCas.length > 0],
  )
}
