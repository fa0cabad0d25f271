/**
 * Lets machines of a stack join by `iam` under a role of that stack: a join token without a secret, declared together with them. The
 * function that writes it may write that one token and nothing else. See docs/adr/0041.
 */
import { CustomResource, Duration, Stack } from 'aws-cdk-lib'
import type { ITableV2 } from 'aws-cdk-lib/aws-dynamodb'
import type { IRole } from 'aws-cdk-lib/aws-iam'
import { Construct } from 'constructs'
import type { SystemRole } from '../../core/domain/service.ts'
import { KEY_ACCESS } from '../../functions/store/key-access.ts'
import { joinKey } from '../../functions/store/table.ts'
import { VerbFunction } from './verb-function.ts'

export interface JoinRuleProps {
  readonly table: ITableV2
  /** Name of the token; public. `[a-z0-9-]`, 1 to 63. */
  readonly tokenName: string
  readonly roles: readonly SystemRole[]
  /** Sessions of this role may join. */
  readonly role: IRole
  /** Pattern of the session's name: `i-*` for instances, `*` for tasks. */
  readonly session: string
  /** Labels that every agent of it carries, stronger than the agent's own. */
  readonly forcedLabels?: Readonly<Record<string, string>>
  /** Several agents may serve the same app. */
  readonly sharedNames?: boolean
}

/** A rule that a stack declares lasts as long as the stack. */
const NEVER = '2125-01-01T00:00:00Z'
const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

export class JoinRule extends Construct {
  readonly tokenName: string

  constructor(scope: Construct, id: string, props: JoinRuleProps) {
    super(scope, id)
    const { tokenName, table } = props
    if (!NAME.test(tokenName))
      throw new Error(`JoinRule: "${tokenName}" is no token name; use a-z, 0-9 and "-"`)
    this.tokenName = tokenName
    const { account, partition } = Stack.of(this)
    const { fn } = new VerbFunction(this, 'declare', {
      verb: 'declare',
      table,
      timeout: Duration.minutes(1),
      narrowed: {
        read: ['CLUSTER', joinKey('TOKEN', tokenName)],
        write: [
          joinKey('TOKEN', tokenName),
          ...KEY_ACCESS.declare.write.filter((prefix) => prefix.startsWith('EVENT')),
        ],
      },
      environment: { POSTERN_TABLE: table.tableName, POSTERN_TOKEN_NAME: tokenName },
    })
    const token = {
      kind: 'token',
      version: 'v2',
      metadata: {
        name: tokenName,
        expires: NEVER,
        description: `declared by ${Stack.of(this).stackName}`,
      },
      spec: {
        roles: props.roles,
        join_method: 'iam',
        allow: [
          {
            aws_account: account,
            aws_arn: `arn:${partition}:sts::${account}:assumed-role/${props.role.roleName}/${props.session}`,
          },
        ],
        ...(props.forcedLabels && { forced_labels: props.forcedLabels }),
        ...(props.sharedNames && { shared_names: true }),
      },
    }
    new CustomResource(this, 'Token', {
      serviceToken: fn.functionArn,
      resourceType: 'Custom::PosternJoinToken',
      serviceTimeout: Duration.minutes(3),
      properties: { Token: Stack.of(this).toJsonString(token) },
    })
  }
}
