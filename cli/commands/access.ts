/** Getting there: `ls`, `ssh`, `scp`, `config`, `proxy`. */
import type { Command } from '@commander-js/extra-typings'
import { DATA_DIR, examples, JSON_FLAG, PROFILE, type Host } from '../host.ts'

export function accessCommands(program: Command, host: Host): void {
  const { cli } = host
  program
    .command('ls')
    .description('nodes and apps you may reach: online, or offline since when')
    .addHelpText(
      'before',
      examples('postern ls', 'postern ls apps', 'postern ls nodes env=prod --search web --json'),
    )
    .argument('[what-or-labels...]', '"nodes" or "apps" first, then labels as env=prod')
    .option('--search <text>', 'only names and labels that contain it')
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (given, options) => (await import('./ls.ts')).ls(cli, given, options))

  for (const name of ['ssh', 'scp'] as const)
    program
      .command(name)
      .description(
        name === 'ssh'
          ? 'stock ssh to a node, through the cluster'
          : 'stock scp from and to nodes, through the cluster',
      )
      .addHelpText(
        'before',
        name === 'ssh'
          ? examples(
              'postern ssh web-1',
              'postern ssh ann@web-1 uptime',
              'postern ssh -L 8080:localhost:80 web-1',
            )
          : examples('postern scp app.tar web-1:/tmp/', 'postern scp -r ann@web-1:logs .'),
      )
      .argument('<args...>', `what ${name} takes; its own options included`)
      .option(...PROFILE)
      .option(...DATA_DIR)
      .passThroughOptions()
      .allowUnknownOption()
      .action(async (args, options) =>
        host.exit(await (await import('./ssh.ts')).openSsh(cli, name, args, options)),
      )

  program
    .command('config')
    .description('print the ssh_config block that makes plain ssh, scp and rsync work')
    .addHelpText('before', examples('postern config >> ~/.ssh/config', 'ssh web-1'))
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (options) => (await import('./config.ts')).config(cli, options))

  const proxy = program.command('proxy').description('bring a stream here, for stock clients')
  // `proxy ssh` itself is run by main.ts without any of this; here it has its help.
  proxy
    .command('ssh')
    .description('standard input and output of one ssh connection: a ProxyCommand')
    .addHelpText('before', examples('ssh -o "ProxyCommand=postern proxy ssh %h:%p" web-1'))
    .argument('<host:port>')
    .option(...PROFILE)
    .action(async (target, options) => {
      const { proxySsh } = await import('./proxy-ssh.ts')
      const profile = options.profile === undefined ? [] : ['--profile', options.profile]
      host.exit(await proxySsh(cli, [target, ...profile]))
    })
  proxy
    .command('app')
    .description('a local port that leads to an app; runs until interrupted')
    .addHelpText(
      'before',
      examples('postern proxy app grafana', 'postern proxy app grafana --listen 127.0.0.1:3000'),
    )
    .argument('<name>')
    .option('--listen <host:port>', 'where to listen', '127.0.0.1:0')
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (name, options) => (await import('./proxy-app.ts')).proxyApp(cli, name, options))
}
