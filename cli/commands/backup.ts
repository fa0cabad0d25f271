/** The table as its owner handles it: `backup`, `restore`, `migrate`. */
import type { Command } from '@commander-js/extra-typings'
import { examples, type Host } from '../host.ts'

const DIR = ['--data-dir <dir>', 'the data directory, of a cluster that is stopped'] as const
const TABLE = [
  '--table <name>',
  'a DynamoDB table, with the credentials that AWS tools find',
] as const
const REGION = ['--region <region>', 'with --table: where it is'] as const

export function backupCommands(program: Command, { cli }: Host): void {
  program
    .command('backup')
    .description('write the table into a file: hashes, no secrets, no CA keys')
    .addHelpText(
      'before',
      examples(
        'postern backup cluster.jsonl --data-dir ./postern-data',
        'postern backup cluster.jsonl --table Postern-Table… --region eu-west-1',
      ),
    )
    .argument('<file>', 'made with mode 0600; must not exist')
    .option(...DIR)
    .option(...TABLE)
    .option(...REGION)
    .action(async (file, options) =>
      (await import('../serve/upkeep.ts')).backup(cli, file, options),
    )

  program
    .command('restore')
    .description('bring a backup into an empty table, or take a restored table into use')
    .addHelpText(
      'before',
      examples(
        'postern restore cluster.jsonl --data-dir ./postern-data',
        'postern restore --in-place --table Postern-restored --region eu-west-1',
      ),
    )
    .argument('[file]', 'a backup')
    .option('--in-place', 'the table was restored by other means: take it into use')
    .option(...DIR)
    .option(...TABLE)
    .option(...REGION)
    .action(async (file, options) =>
      (await import('../serve/upkeep.ts')).restore(cli, file, options),
    )

  program
    .command('migrate')
    .description('move the table to the shape of this release; up and serve do it by themselves')
    .addHelpText('before', examples('postern migrate --table Postern-Table… --region eu-west-1'))
    .option(...DIR)
    .option(...TABLE)
    .option(...REGION)
    .action(async (options) => (await import('../serve/upkeep.ts')).migrateTable(cli, options))
}
