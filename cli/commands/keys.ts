/** `postern keys …`: API keys of programs. */
import type { Command } from '@commander-js/extra-typings'
import { DATA_DIR, examples, JSON_FLAG, PROFILE, type Host } from '../host.ts'

export function keyCommands(program: Command, { cli }: Host): void {
  const keys = program.command('keys').description('API keys for programs: make, list, revoke')

  keys
    .command('add')
    .description('make an API key; the secret is shown this once')
    .addHelpText(
      'before',
      examples(
        'postern keys add ci --scope token:create',
        'postern keys add backup --scope event:list,read --scope node,app:list --ttl 30d',
        'postern keys add terraform --scope role,user,token:* --owner terraform --json',
      ),
    )
    .argument('<name>', 'a handle for lists and the audit log')
    .requiredOption(
      '--scope <kinds:verbs>',
      'what it may do at most, as token:create or node,app:list,read; * is every one; several times',
      (scope: string, before: readonly string[] | undefined) => [...(before ?? []), scope],
    )
    .option('--ttl <duration>', 'how long it is good, as 30d (default: 90d)')
    .option('--owner <user>', 'the user it acts for, and whose rights it never exceeds')
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (name, options) => (await import('./keys-add.ts')).keysAdd(cli, name, options))

  keys
    .command('ls')
    .description('list the API keys; secrets are never shown again')
    .addHelpText('before', examples('postern keys ls', 'postern keys ls --json'))
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (options) => (await import('./keys-ls.ts')).keysLs(cli, options))

  keys
    .command('rm')
    .description('revoke an API key: its next call is refused')
    .addHelpText('before', examples('postern keys rm ci', 'postern keys rm ky_…'))
    .argument('<name-or-id>', 'as keys ls shows it')
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (name, options) => (await import('./keys-rm.ts')).keysRm(cli, name, options))
}
