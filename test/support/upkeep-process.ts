/**
 * A restore or a migration as a process of its own, to be killed by a test: `upkeep-process.ts ENDPOINT TABLE [BACKUP]`. With a backup it
 * restores that, without one it migrates.
 */
import { readFileSync } from 'node:fs'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { systemClock } from '../../core/clock.ts'
import { silentLog } from '../../core/log.ts'
import { systemRandom } from '../../core/random.ts'
import { migrate } from '../../functions/store/upkeep/migrate.ts'
import { restore } from '../../functions/store/upkeep/restore.ts'
import { TEST_MIGRATIONS } from './migrations.ts'

const [endpoint = '', tableName = '', backup] = process.argv.slice(2)
const client = new DynamoDBClient({
  endpoint,
  region: 'us-east-1',
  credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
})
async function* lines(file: string): AsyncGenerator<string> {
  yield* readFileSync(file, 'utf8').split('\n').slice(0, -1)
}
if (backup === undefined)
  await migrate({ client, tableName, log: silentLog, migrations: TEST_MIGRATIONS })
else
  await restore({ client, tableName, clock: systemClock, random: systemRandom }, () =>
    lines(backup),
  )
client.destroy()
