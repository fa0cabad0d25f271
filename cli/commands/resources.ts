/** Operating the cluster: `create`, `get`, `edit`, `rm`, `lock`, `events`. */
import type { Command } from '@commander-js/extra-typings'
import { DATA_DIR, examples, JSON_FLAG, PROFILE, type Host } from '../host.ts'

export function resourceCommands(program: Command, { cli }: Host): void {
  program
    .command('create')
    .description(
      'apply resource files: tokens, roles, users, locks, connectors; again and again if you like',
    )
    .addHelpText(
      'before',
      examples('postern create -f role.yaml', 'cat role.yaml | postern create -f -'),
    )
    .requiredOption(
      '-f, --file <file>',
      'YAML or JSON, one or more documents; "-" is standard input',
    )
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (options) => (await import('./create.ts')).create(cli, options))

  program
    .command('get')
    .description('print resources as YAML, in the shape that create takes')
    .addHelpText(
      'before',
      examples('postern get roles', 'postern get role/access', 'postern get locks --json'),
    )
    .argument('<kind[/name]>', 'token, role, user, lock, oidc_connector, key, agent, node or app')
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (what, options) => (await import('./get.ts')).get(cli, what, options))

  program
    .command('edit')
    .description('change a resource in $VISUAL or $EDITOR')
    .addHelpText(
      'before',
      examples('postern edit role/dev', 'EDITOR=nano postern edit oidc_connector/github'),
    )
    .argument('<kind/name>', 'role, user or oidc_connector')
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (what, options) => (await import('./edit.ts')).edit(cli, what, options))

  program
    .command('rm')
    .description('remove a resource')
    .addHelpText('before', examples('postern rm role/dev', 'postern rm lock/lk_…'))
    .argument('<kind/name>', 'token, role, user, lock, oidc_connector, key or agent')
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (what, options) => (await import('./rm.ts')).rm(cli, what, options))

  program
    .command('lock')
    .description('take access away at once, live sessions included')
    .addHelpText(
      'before',
      examples(
        'postern lock --user ann --ttl 1h',
        'postern lock --agent ag_…',
        'postern lock --role dev',
        'postern lock --service ag_…/app',
        'postern lock --token web-fleet',
      ),
    )
    .option('--user <name>', 'a user')
    .option('--agent <id>', 'an agent, by the id that ls --json shows')
    .option('--role <name>', 'everybody who uses this role')
    .option('--service <id/service>', 'one service of an agent, as ag_…/ssh; its others go on')
    .option('--token <name>', 'a join token and every agent that it let in')
    .option('--ttl <duration>', 'how long, as 1h (default: until removed)')
    .option('--message <text>', 'why; the audit log keeps it')
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (options) => (await import('./lock.ts')).lock(cli, options))

  program
    .command('events')
    .description('the audit log, newest first')
    .addHelpText(
      'before',
      examples(
        'postern events',
        'postern events --type session.start --user ann --since 24h --json',
      ),
    )
    .option('--type <type>', 'only this type, as agent.join')
    .option('--user <name>', 'only what this user did')
    .option('--resource <kind/name>', 'only what was done to it, as node/web-1')
    .option('--since <duration>', 'only the last 30m, 24h, 7d …')
    .option('--limit <n>', 'how many at most', '100')
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (options) => (await import('./events.ts')).events(cli, options))
}
