/**
 * The table behind the rehearsal: the embedded engine, or whatever POSTERN_TEST_DYNAMODB_ENDPOINT names (an emulator, `postern serve store`
 * on another machine, DynamoDB itself), asked with the credentials of the environment. It must know transactions and time to live.
 */
import { DeleteTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { signV4 } from '../../../core/aws/sigv4.ts'
import { systemClock } from '../../../core/clock.ts'
import { DynamoException } from '../../../functions/store/embedded/exceptions.ts'
import { embeddedClient, openEmbeddedStore } from '../../../functions/store/embedded/open.ts'

type Json = Readonly<Record<string, unknown>>
export interface TableBackend {
  /** Throws DynamoException, as the engine does. */
  handle(operation: string, input: Json): Promise<Json>
  /** A client that nobody checks. */
  readonly admin: DynamoDBClient
  /** Removes the table where it is not in this process. */
  close(table: string): Promise<void>
}

export async function tableBackend(): Promise<TableBackend> {
  const { POSTERN_TEST_DYNAMODB_ENDPOINT: endpoint } = process.env
  if (endpoint === undefined) {
    const engine = await openEmbeddedStore()
    const admin = embeddedClient(engine)
    return {
      handle: (operation, input) => engine.handle(operation, input),
      admin,
      async close() {
        admin.destroy()
        await engine.close()
      },
    }
  }
  const region = process.env['AWS_REGION'] ?? 'us-east-1'
  const credentials = {
    accessKeyId: process.env['AWS_ACCESS_KEY_ID'] ?? 'test',
    secretAccessKey: process.env['AWS_SECRET_ACCESS_KEY'] ?? 'test',
    sessionToken: process.env['AWS_SESSION_TOKEN'],
  }
  const admin = new DynamoDBClient({ endpoint, region, credentials: { ...credentials } as never })
  process.stderr.write(`the table of this rehearsal is at ${endpoint}\n`)
  return {
    async handle(operation, input) {
      const body = JSON.stringify(input)
      const headers = signV4(
        {
          method: 'POST',
          host: new URL(endpoint).host,
          path: '/',
          headers: {
            'content-type': 'application/x-amz-json-1.0',
            'x-amz-target': `DynamoDB_20120810.${operation}`,
          },
          body,
        },
        { region, service: 'dynamodb' },
        credentials,
        systemClock.now(),
      )
      delete headers['host']
      const answer = await fetch(endpoint, { method: 'POST', headers, body })
      const said = (await answer.json()) as Json
      if (answer.ok) return said
      throw new DynamoException(answer.status, { __type: 'UnknownError', ...said })
    },
    admin,
    async close(table) {
      await admin.send(new DeleteTableCommand({ TableName: table }))
      admin.destroy()
    },
  }
}
