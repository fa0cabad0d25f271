/** `postern up`: the whole system on one machine. */
import { Option, type Command } from '@commander-js/extra-typings'
import { examples, type Host } from '../host.ts'

export function upCommand(program: Command, { cli }: Host): void {
  program
    .command('up')
    .description('the whole system on one machine; prints what to try next')
    .addHelpText(
      'before',
      examples(
        'postern up',
        'postern up --listen 0.0.0.0:3080',
        'postern up --data-dir /srv/postern --no-agent',
      ),
    )
    .option('--data-dir <dir>', 'where everything is kept', './postern-data')
    .option('--listen <host:port>', 'address for the API and the proxy', '127.0.0.1:3080')
    .option('--no-agent', 'do not make this machine a node')
    .option('--break-glass', 'take away what keeps you out: locks on you, changed default roles')
    .option('--diag-addr <host:port>', 'private address of /metrics, /healthz and /readyz')
    .addOption(
      new Option('--log-format <format>', 'lines of up.log')
        .choices(['text', 'json'] as const)
        .default('text' as const),
    )
    .action(async (options) => (await import('../up/run.ts')).up(cli, options))
}
