/**
 * What one verb may do with the table: the actions of its stores, on its key prefixes and no others (`dynamodb:LeadingKeys`). Never Scan: it
 * names no key, and a condition over "all keys of the request" would hold for it.
 */
import { Effect, PolicyStatement, type IGrantable } from 'aws-cdk-lib/aws-iam'
import type { ITableV2 } from 'aws-cdk-lib/aws-dynamodb'
import type { KeyAccess } from '../../functions/store/key-access.ts'
import { INDEX } from '../../functions/store/table.ts'

const READ = [
  'dynamodb:GetItem',
  'dynamodb:BatchGetItem',
  'dynamodb:Query',
  'dynamodb:ConditionCheckItem',
]
const WRITE = [
  'dynamodb:PutItem',
  'dynamodb:UpdateItem',
  'dynamodb:DeleteItem',
  'dynamodb:ConditionCheckItem',
]
/** The audit log is added to. Never in batches: IAM cannot tell a put in one from a delete (docs/adr/0044). */
const APPEND = ['dynamodb:PutItem', 'dynamodb:ConditionCheckItem']
const INDEX_PREFIX = 'LIST#'

/** A prefix that ends in `#` covers all keys that begin with it, any other is one key. */
const pattern = (prefix: string): string => (prefix.endsWith('#') ? `${prefix}*` : prefix)

function statement(
  actions: string[],
  resource: string,
  prefixes: readonly string[],
): PolicyStatement {
  return new PolicyStatement({
    effect: Effect.ALLOW,
    actions,
    resources: [resource],
    conditions: {
      'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': prefixes.map(pattern) },
      Null: { 'dynamodb:LeadingKeys': 'false' },
    },
  })
}

export function keyStatements(access: KeyAccess, tableArn: string): PolicyStatement[] {
  const items = access.read.filter((p) => p !== INDEX_PREFIX)
  const lists = access.read.filter((p) => p === INDEX_PREFIX)
  const log = access.write.filter((p) => p.startsWith('EVENT'))
  const rows = access.write.filter((p) => !p.startsWith('EVENT'))
  return [
    ...(items.length > 0 ? [statement(READ, tableArn, items)] : []),
    ...(rows.length > 0 ? [statement(WRITE, tableArn, rows)] : []),
    ...(log.length > 0 ? [statement(APPEND, tableArn, log)] : []),
    ...(lists.length > 0
      ? [statement(['dynamodb:Query'], `${tableArn}/index/${INDEX}`, lists)]
      : []),
  ]
}

export function grantKeys(grantee: IGrantable, access: KeyAccess, table: ITableV2): void {
  for (const s of keyStatements(access, table.tableArn))
    grantee.grantPrincipal.addToPrincipalPolicy(s)
}
