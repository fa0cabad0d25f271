/** `postern tokens …`: what lets machines join. */
import type { Command } from '@commander-js/extra-typings'
import { DATA_DIR, examples, JSON_FLAG, PROFILE, type Host } from '../host.ts'

export function tokenCommands(program: Command, { cli }: Host): void {
  const tokens = program.command('tokens').description('join tokens: mint, list, revoke')

  tokens
    .command('add')
    .description('mint a join token and print the line to run on the machine')
    .addHelpText(
      'before',
      examples(
        'postern tokens add --type=node',
        'postern tokens add --type=node,app --ttl 2h --uses 5 --name web-fleet',
        'postern tokens add --type=node --json',
      ),
    )
    .requiredOption('--type <roles>', 'what the machine may run: node, app (comma-separated)')
    .option('--ttl <duration>', 'how long it is good, as 30m or 12h (default: 30m)')
    .option('--uses <n>', 'how many machines it lets in, or "any" until it expires (default: 1)')
    .option('--name <name>', 'a handle to list and revoke it by')
    .option('--labels <pairs>', 'labels of the token itself, as env=prod,team=sre')
    .option('--method <method>', 'join method (default: token)')
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (options) => (await import('./tokens-add.ts')).tokensAdd(cli, options))

  tokens
    .command('ls')
    .description('list the join tokens; secrets are never shown again')
    .addHelpText('before', examples('postern tokens ls', 'postern tokens ls --json'))
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (options) => (await import('./tokens-ls.ts')).tokensLs(cli, options))

  tokens
    .command('rm')
    .description('revoke a join token; agents that joined with it stay')
    .addHelpText('before', examples('postern tokens rm web-fleet'))
    .argument('<name>', 'the handle that tokens ls shows')
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (name, options) => (await import('./tokens-rm.ts')).tokensRm(cli, name, options))
}
