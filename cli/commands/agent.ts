/** `postern agent …`: the part that runs on the machines. */
import { Option, type Command } from '@commander-js/extra-typings'
import { examples, JSON_FLAG, type Host } from '../host.ts'

export function agentCommands(program: Command, host: Host): void {
  const { cli } = host
  const agent = program.command('agent').description('the agent: run it, configure it, look at it')

  agent
    .command('start')
    .description('run the agent of this machine until it is told to stop')
    .addHelpText('before', examples('postern agent start -c /etc/postern.yaml'))
    .option('-c, --config <file>', 'configuration file', '/etc/postern.yaml')
    .action(async (options) => (await import('./agent-start.ts')).agentStart(cli, options))

  agent
    .command('configure')
    .description('print a configuration file for the options given')
    .addHelpText(
      'before',
      examples(
        'postern agent configure --proxy-server access.example.com:443 --ca-pin sha256:… \\',
        '    --auth-token /etc/postern/token --type node > /etc/postern.yaml',
        'postern agent configure … --app grafana=http://localhost:3000',
      ),
    )
    .requiredOption('--proxy-server <host:port>', 'address of the cluster')
    .option('--auth-token <secret-or-file>', 'join token, or the absolute path of a file with it')
    .option('--join-method <method>', 'another way to join, as iam; needs --token-name')
    .option('--token-name <name>', 'name of the token of that method')
    .option('--ca-pin <pin...>', 'pin of the cluster’s CA, as tokens add prints it')
    .option('--type <roles>', 'services to run: node, app', 'node')
    .option('--nodename <name>', 'name of this machine in the cluster (default: its host name)')
    .option('--data-dir <dir>', 'where identities are kept (default: /var/lib/postern)')
    .option('--labels <pairs>', 'labels of the node, as env=prod,team=sre')
    .option('--app <name=uri...>', 'an app to serve, as grafana=http://localhost:3000')
    .action(async (options) => (await import('./agent-configure.ts')).agentConfigure(cli, options))

  agent
    .command('install')
    .description('run the agent under systemd: write a hardened unit, enable it, start it')
    .addHelpText(
      'before',
      examples(
        'sudo postern agent install -c /etc/postern.yaml',
        'postern agent install -c /etc/postern.yaml --print',
      ),
    )
    .option('-c, --config <file>', 'configuration file', '/etc/postern.yaml')
    .option('--print', 'show the unit and change nothing')
    .option('--no-start', 'write and enable the unit, start nothing')
    .action(async (options) => (await import('./agent-install.ts')).agentInstall(cli, options))

  agent
    .command('status')
    .description('what the agent of a configuration file has: its id, services, certificates')
    .addHelpText('before', examples('postern agent status -c /etc/postern.yaml'))
    .option('-c, --config <file>', 'configuration file', '/etc/postern.yaml')
    .option(...JSON_FLAG)
    .action(async (options) =>
      host.exit(await (await import('./agent-status.ts')).agentStatus(cli, options)),
    )

  agent
    .command('tpm')
    .description('the rule that a token of join method tpm needs for this machine')
    .addHelpText('before', examples('postern agent tpm', 'postern agent tpm --ek ecc --json'))
    .option('--device <path>', 'device or socket of the TPM (default: /dev/tpmrm0)')
    .addOption(
      new Option('--ek <kind>', 'which endorsement key to show').choices(['rsa', 'ecc'] as const),
    )
    .option(...JSON_FLAG)
    .action(async (options) => (await import('./agent-tpm.ts')).agentTpm(cli, options))
}
