/** Signing in: `login`, `logout`, `status`, `whoami`, and users of the cluster's own. */
import type { Command } from '@commander-js/extra-typings'
import { DATA_DIR, examples, JSON_FLAG, PROFILE, type Host } from '../host.ts'

export function signInCommands(program: Command, host: Host): void {
  const { cli } = host
  program
    .command('login')
    .description('sign in and get certificates that last a working day')
    .addHelpText(
      'before',
      examples(
        'postern login --proxy access.example.com --user ann',
        'postern login --proxy 127.0.0.1:3080 --ca-pin sha256:… --user ann',
        'postern login',
      ),
    )
    .option('--proxy <host:port>', 'address of the cluster (default: that of the profile)')
    .option('--user <name>', 'who you are (default: the profile’s user, else your login here)')
    .option('--ca-pin <pin...>', 'pin of the cluster’s CA, where TLS alone cannot tell')
    .option('--password-file <file>', 'read the password from a file, "-" is standard input')
    .option('--ttl <duration>', 'ask for shorter certificates, as 1h')
    .option(...PROFILE)
    .action(async (options) => (await import('./login.ts')).login(cli, options))

  program
    .command('logout')
    .description('delete the key and the certificates of the profile')
    .addHelpText('before', examples('postern logout'))
    .option(...PROFILE)
    .action(async (options) => (await import('./logout.ts')).logout(cli, options))

  program
    .command('status')
    .description('who you are here, for how long, with which roles')
    .addHelpText('before', examples('postern status', 'postern status --json'))
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (options) => (await import('./status.ts')).status(cli, options))

  program
    .command('whoami')
    .description('who the control plane takes you for, and what you may do there')
    .addHelpText('before', examples('postern whoami', 'postern whoami --json'))
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (options) => (await import('./status.ts')).whoAmI(cli, options))

  program
    .command('bootstrap')
    .description(
      'after cdk deploy: first operator and user, by your AWS credentials; break-glass later',
    )
    .addHelpText(
      'before',
      examples(
        'postern bootstrap --stack Postern --region eu-west-1',
        'postern bootstrap --stack Postern --user ann --logins ann,deploy',
      ),
    )
    .requiredOption('--stack <name>', 'the stack of the control plane')
    .option('--region <region>', 'where it is (default: as the AWS tools find it)')
    .option('--user <name>', 'user of the cluster (default: your login here)')
    .option('--logins <names>', 'unix users for {{internal.logins}} (default: the same name)')
    .option(...JSON_FLAG)
    .action(async (options) => (await import('./bootstrap.ts')).bootstrap(cli, options))

  const users = program.command('users').description('users that the cluster knows by password')
  users
    .command('add')
    .description('add a user; the password is asked for, or read from a file')
    .addHelpText(
      'before',
      examples(
        'postern users add ann --roles=access --logins=ann,deploy',
        'postern users add ann --roles=access,auditor --logins=ann --password-file pw.txt',
      ),
    )
    .argument('<name>')
    .requiredOption('--roles <names>', 'roles the user holds (comma-separated)')
    .option('--logins <names>', 'unix users for {{internal.logins}} (comma-separated)')
    .option('--password-file <file>', 'read the password from a file, "-" is standard input')
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (name, options) => (await import('./users-add.ts')).usersAdd(cli, name, options))
}
