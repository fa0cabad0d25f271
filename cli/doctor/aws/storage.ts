/** The table and the keys: what a cluster is made of, and what must not get lost. */
import type { Json } from '../../aws/api.ts'
import { TABLE_VERSION } from '../../../core/version.ts'
import { Problem, warning } from '../examination.ts'
import { asked, DEPLOY_AGAIN, none, ofType, type Account } from './asking.ts'

const DYNAMO = 'DynamoDB_20120810'
const KMS = 'TrentService'
/** As functions/store/table.ts has them. */
const TTL = 'ttl'
const INDEX = 'gsi1'

const object = (value: unknown): Json => (typeof value === 'object' && value ? (value as Json) : {})
const list = (value: unknown): Json[] => (Array.isArray(value) ? (value as Json[]) : [])
const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Returns whether the table can be read. */
export async function examineTable(account: Account, table: string): Promise<boolean> {
  const { exam, aws, cli } = account
  const ask = (operation: string, input: Json = {}) =>
    asked(aws.json('dynamodb', `${DYNAMO}.${operation}`, { TableName: table, ...input }))
  const there = await exam.check('table', table, async () => {
    const found = object((await ask('DescribeTable'))['Table'])
    const indexes = list(found['GlobalSecondaryIndexes'])
    return none(
      [
        ...(found['TableStatus'] === 'ACTIVE'
          ? []
          : [`its status is ${text(found['TableStatus'])}`]),
        ...(indexes.some((i) => i['IndexName'] === INDEX && i['IndexStatus'] === 'ACTIVE')
          ? []
          : [`index ${INDEX} is not active`]),
      ],
      `active, ${Number(found['ItemCount'] ?? 0)} items at the last count`,
      `wait until it is active; a table that was restored needs its index: ${DEPLOY_AGAIN}`,
    )
  })
  const recovery = `aws dynamodb update-continuous-backups --table-name ${table} --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true`
  const guard = `aws dynamodb update-table --table-name ${table} --deletion-protection-enabled`
  const expiry = `aws dynamodb update-time-to-live --table-name ${table} --time-to-live-specification Enabled=true,AttributeName=${TTL}`
  const needs = [there]
  await exam.check(
    'table guard',
    table,
    async () => {
      const found = object((await ask('DescribeTable'))['Table'])
      if (found['DeletionProtectionEnabled'] === true) return 'deletion protection is on'
      throw new Problem('deletion protection is off', guard)
    },
    needs,
  )
  await exam.check(
    'table pitr',
    table,
    async () => {
      const answer = object(
        (await ask('DescribeContinuousBackups'))['ContinuousBackupsDescription'],
      )
      const { PointInTimeRecoveryStatus: status } = object(answer['PointInTimeRecoveryDescription'])
      if (status === 'ENABLED') return 'point-in-time recovery is on'
      throw new Problem('point-in-time recovery is off: nothing can be restored', recovery)
    },
    needs,
  )
  await exam.check(
    'table ttl',
    table,
    async () => {
      const found = object((await ask('DescribeTimeToLive'))['TimeToLiveDescription'])
      const on = found['TimeToLiveStatus'] === 'ENABLED' && found['AttributeName'] === TTL
      if (on) return 'items that are over are tidied away'
      throw new Problem('time to live is off: what is over stays, and is paid for', expiry)
    },
    needs,
  )
  await exam.check(
    'cluster',
    table,
    async () => {
      const key = { pk: { S: 'CLUSTER' }, sk: { S: 'CLUSTER' } }
      const row = object((await ask('GetItem', { Key: key, ConsistentRead: true }))['Item'])
      const name = text(object(row['name'])['S'])
      const version = Number(object(row['v'])['N'] ?? 0)
      if (name === '')
        throw new Problem(
          'there is no cluster yet',
          account.plane.outputs.get('FirstOperator') ?? 'postern bootstrap --stack …',
          { code: 'ERR_CLUSTER_NEW' },
        )
      if (version > TABLE_VERSION)
        throw warning(
          `${name}, and its table has version ${version}: newer than this command, which knows ${TABLE_VERSION}`,
          'update this command; functions that are older than their table refuse to start',
        )
      if (version < TABLE_VERSION)
        throw warning(
          `${name}, table version ${version}: this release writes ${TABLE_VERSION}`,
          `once all parts are of this release: postern migrate --table ${table} --region ${aws.region}`,
        )
      return `${name}, table version ${version}`
    },
    needs,
  )
  await exam.check(
    'leases',
    table,
    async () => {
      const answer = await ask('Query', {
        KeyConditionExpression: 'pk = :lease',
        ExpressionAttributeValues: { ':lease': { S: 'LEASE' } },
        ConsistentRead: true,
      })
      const now = cli.clock.now() / 1000
      const all = list(answer['Items']).map((item) => Number(object(item['expires'])['N'] ?? 0))
      const fresh = all.filter((expires) => expires > now)
      if (fresh.length > 0) return `${fresh.length} proxy(ies) renewed theirs in the last 20 s`
      const newest = Math.max(0, ...all)
      throw new Problem(
        newest === 0
          ? 'no proxy has ever renewed a lease'
          : `the newest ended ${Math.round(now - newest)} s ago`,
        'docs/runbook.md#no-proxy: the log group of the service in PosternProxies says why',
        { code: 'ERR_UNREACHABLE' },
      )
    },
    needs,
  )
  return there
}

/** Principals of a key policy besides the account itself, which delegates to IAM. */
function strangers(policy: string, keyArn: string): string[] {
  const accountOf = keyArn.split(':')[4] ?? '?'
  const own = [`arn:aws:iam::${accountOf}:root`, accountOf]
  const statements = list(object(JSON.parse(policy) as unknown)['Statement'])
  return statements
    .filter((s) => s['Effect'] === 'Allow')
    .flatMap((s) => {
      const principal = s['Principal']
      if (typeof principal === 'string') return [principal]
      return Object.values(object(principal)).flat().map(String)
    })
    .filter((principal) => !own.includes(principal))
}

/** Each key: there, enabled, of the right kind, and used through IAM policies of this account alone. */
export async function examineKeys(account: Account): Promise<void> {
  const { exam, aws, plane } = account
  for (const { logicalId, id } of ofType(plane, 'AWS::KMS::Key')) {
    const name = logicalId.replace(/[0-9A-F]{8}$/, '')
    const ask = (operation: string) => asked(aws.json('kms', `${KMS}.${operation}`, { KeyId: id }))
    let arn = ''
    const usable = await exam.check('key', name, async () => {
      const found = object((await ask('DescribeKey'))['KeyMetadata'])
      arn = text(found['Arn'])
      const state = text(found['KeyState'])
      if (state === 'PendingDeletion')
        throw new Problem(
          'it is scheduled for deletion, and the cluster dies with it',
          `aws kms cancel-key-deletion --key-id ${id} && aws kms enable-key --key-id ${id}`,
        )
      if (state !== 'Enabled')
        throw new Problem(`its state is ${state}`, `aws kms enable-key --key-id ${id}`)
      const use = name === 'SealKey' ? 'GENERATE_VERIFY_MAC' : 'SIGN_VERIFY'
      return none(
        found['KeyUsage'] === use ? [] : [`it is for ${text(found['KeyUsage'])}, not ${use}`],
        `enabled, ${text(found['KeySpec'])}`,
        DEPLOY_AGAIN,
      )
    })
    await exam.check(
      'key policy',
      name,
      async () => {
        const policy = text(
          (
            await asked(
              aws.json('kms', `${KMS}.GetKeyPolicy`, { KeyId: id, PolicyName: 'default' }),
            )
          )['Policy'],
        )
        const grants = list((await ask('ListGrants'))['Grants'])
        return none(
          [
            ...strangers(policy, arn).map((who) => `its policy lets ${who} in`),
            ...grants.map((g) => `a grant lets ${text(g['GranteePrincipal'])} use it`),
          ],
          'only IAM policies of this account decide, and there is no grant',
          'somebody changed the key outside of the stack: treat it as an incident, revoke the grant, deploy again',
        )
      },
      [usable],
    )
  }
}
