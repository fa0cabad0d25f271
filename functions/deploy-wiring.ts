/**
 * The functions that serve no request: those that a deployment runs (declare) and those of a schedule (archive). What they need
 * is opened at the first call and not at the start: a deployment that waits for an answer has to get one, also when this fails.
 */
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { systemClock } from '../core/clock.ts'
import { systemRandom } from '../core/random.ts'
import { archive } from './archive/archive.ts'
import { createS3 } from './archive/s3.ts'
import { customResource } from './deploy/custom-resource.ts'
import { joinRule } from './deploy/join-rule.ts'
import { need, ownCredentials, readDeployEnv, type DeployEnv } from './env.ts'
import { lambdaLog } from './lambda-log.ts'
import { openStores } from './store/open.ts'

const shared = { clock: systemClock, random: systemRandom, log: lambdaLog }

const storesOf = (env: DeployEnv) =>
  openStores({
    client: new DynamoDBClient({}),
    tableName: env.POSTERN_TABLE,
    // None of these hands out a cursor.
    cursorKey: systemRandom.bytes(32),
    ...shared,
  })

export const declareHandler = customResource(async (change) => {
  const env = readDeployEnv()
  const tokenName = need(env, 'POSTERN_TOKEN_NAME')
  return joinRule({ ...shared, stores: storesOf(env), tokenName })(change)
}, shared)

export async function archiveHandler(): Promise<void> {
  const env = readDeployEnv()
  const objects = createS3({
    clock: systemClock,
    bucket: need(env, 'POSTERN_RECORDS_BUCKET'),
    region: need(env, 'AWS_REGION'),
    credentials: ownCredentials,
  })
  await archive({ ...shared, stores: storesOf(env), objects })
}
