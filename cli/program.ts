/** The tree of commands, and what becomes of a wrong call: exit code 2, what is wrong, and the nearest right word. */
import { Command, CommanderError } from '@commander-js/extra-typings'
import { VERSION } from '../core/version.ts'
import type { Cli } from './cli.ts'
import { accessCommands } from './commands/access.ts'
import { agentCommands } from './commands/agent.ts'
import { keyCommands } from './commands/keys.ts'
import { caCommands } from './commands/ca.ts'
import { doctorCommand } from './commands/doctor.ts'
import { resourceCommands } from './commands/resources.ts'
import { serveCommands } from './commands/serve.ts'
import { backupCommands } from './commands/backup.ts'
import { signInCommands } from './commands/sign-in.ts'
import { tokenCommands } from './commands/tokens.ts'
import { upCommand } from './commands/up.ts'
import type { Host } from './host.ts'
import { usage } from './ui/report.ts'

const EXAMPLES = `Examples:
  $ postern up                                 start a whole cluster on this machine
  $ postern tokens add --type=node             let one machine join
  $ postern ls                                 what there is, and what is online
  $ postern ssh ann@web-1                      stock ssh, no key on the machine
`

function programFor(host: Host): Command {
  const program = new Command('postern')
    .description('Access to servers and apps in private networks, with short-lived certificates.')
    .version(VERSION, '-V, --version')
    .helpOption('-h, --help', 'show this help')
    .helpCommand(false)
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void host.cli.stdout.write(text),
      // A wrong call is reported once, by report().
      writeErr: () => undefined,
      outputError: () => undefined,
      getOutHelpWidth: () => host.cli.stdout.columns ?? 100,
    })
    .addHelpText('before', EXAMPLES)
  for (const define of [
    upCommand,
    serveCommands,
    tokenCommands,
    keyCommands,
    agentCommands,
    signInCommands,
    accessCommands,
    resourceCommands,
    caCommands,
    backupCommands,
    doctorCommand,
  ])
    define(program, host)
  return program
}

function usageError(e: CommanderError, args: readonly string[]): Error {
  const [first = '', ...rest] = e.message.replace(/^error: /, '').split('\n')
  const suggestion = /Did you mean (.+)\?\)?$/.exec(rest.join(' '))?.[1]
  const words = args.filter((word) => !word.startsWith('-')).slice(0, 1)
  const where = ['postern', ...words, '--help'].join(' ')
  return usage(first, suggestion ? `did you mean ${suggestion}?` : `see ${where}`)
}

export async function runProgram(cli: Cli, args: readonly string[]): Promise<number> {
  let code = 0
  const program = programFor({
    cli,
    exit: (given) => {
      code = given
    },
  })
  try {
    await program.parseAsync(args, { from: 'user' })
  } catch (e) {
    if (!(e instanceof CommanderError)) throw e
    if (e.code === 'commander.helpDisplayed' || e.code === 'commander.version') return 0
    if (e.code === 'commander.help') {
      // A group without its verb: the help is what the caller needs, but nothing was done.
      cli.stderr.write(helpOf(program, args))
      return 2
    }
    throw usageError(e, args)
  }
  return code
}

function helpOf(program: Command, args: readonly string[]): string {
  const group = program.commands.find((command) => command.name() === args[0])
  return (group ?? program).helpInformation()
}
