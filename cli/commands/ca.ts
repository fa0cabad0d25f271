/** `postern ca …`: the CAs and their rotation. */
import type { Command } from '@commander-js/extra-typings'
import { DATA_DIR, examples, JSON_FLAG, PROFILE, type Host } from '../host.ts'

const TYPE = ['--type <ca>', 'host, user or policy'] as const

export function caCommands(program: Command, { cli }: Host): void {
  const ca = program.command('ca').description('the CAs: what is trusted, and rotating them')

  ca.command('status')
    .description('each CA: which key signs, which are trusted, how far a rotation is')
    .addHelpText('before', examples('postern ca status', 'postern ca status --json'))
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (options) => (await import('./ca-status.ts')).caStatus(cli, options))

  ca.command('rotate')
    .description('replace the key of a CA, by itself or one phase at a time')
    .addHelpText(
      'before',
      examples(
        'postern ca rotate --type host                          by itself, within 36 hours',
        'postern ca rotate --type user --grace 3d',
        'postern ca rotate --type host --phase init             by hand, one phase a call',
        'postern ca rotate --type host --phase update_clients',
        'postern ca rotate --type host --grace 0s               at once: everybody joins again',
      ),
    )
    .requiredOption(...TYPE)
    .option('--phase <phase>', 'init, update_clients, update_servers or standby, in this order')
    .option('--grace <duration>', 'how long an automatic rotation takes (default: 36h)')
    .option('--force', 'do not wait for those who would be locked out')
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (options) => (await import('./ca-rotate.ts')).caRotate(cli, options))

  ca.command('rollback')
    .description('back to the key from before, whatever the phase')
    .addHelpText('before', examples('postern ca rollback --type host'))
    .requiredOption(...TYPE)
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (options) => (await import('./ca-rotate.ts')).caRollback(cli, options))
}
