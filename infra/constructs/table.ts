/** The single table, deployed from the same definition that the stores query and the embedded engine creates. */
import { RemovalPolicy } from 'aws-cdk-lib'
import {
  AttributeType,
  Billing,
  TableEncryptionV2,
  TableV2,
  type Attribute,
  type ITableV2,
} from 'aws-cdk-lib/aws-dynamodb'
import type { Construct } from 'constructs'
import { TABLE_DEFINITION, TTL_ATTRIBUTE } from '../../functions/store/table.ts'

const TYPES = { S: AttributeType.STRING } as const

function attribute(name: string): Attribute {
  const found = TABLE_DEFINITION.AttributeDefinitions.find((a) => a.AttributeName === name)
  if (!found) throw new Error(`functions/store/table.ts does not define ${name}`)
  return { name, type: TYPES[found.AttributeType] }
}

/** On demand, point-in-time recovery, encrypted, kept when the stack goes: it is the cluster. */
export function posternTable(scope: Construct, id: string): ITableV2 {
  const [hash, range] = TABLE_DEFINITION.KeySchema
  return new TableV2(scope, id, {
    partitionKey: attribute(hash.AttributeName),
    sortKey: attribute(range.AttributeName),
    billing: Billing.onDemand(),
    timeToLiveAttribute: TTL_ATTRIBUTE,
    pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
    encryption: TableEncryptionV2.awsManagedKey(),
    deletionProtection: true,
    removalPolicy: RemovalPolicy.RETAIN,
    globalSecondaryIndexes: TABLE_DEFINITION.GlobalSecondaryIndexes.map((index) => ({
      indexName: index.IndexName,
      partitionKey: attribute(index.KeySchema[0].AttributeName),
      sortKey: attribute(index.KeySchema[1].AttributeName),
    })),
  }) as ITableV2
}

/** A table that was restored beside the first one (docs/operations/backup.md). The stack uses it and does not own it: doctor --aws says what it lacks. */
export const restoredTable = (scope: Construct, id: string, tableName: string): ITableV2 =>
  TableV2.fromTableAttributes(scope, id, {
    tableName,
    globalIndexes: TABLE_DEFINITION.GlobalSecondaryIndexes.map((index) => index.IndexName),
  })
