/**
 * Entry of the `postern` command. `proxy ssh` is started by every single ssh connection, and an agent runs for years: both take a
 * short way that loads neither the option parser nor any other command.
 */
import { setDefaultHighWaterMark } from 'node:stream'
import { processCli } from './cli.ts'
import { report } from './ui/report.ts'

// Node's default of 16 KiB makes a bulk transfer stop and go; a tunnel's own windows bound what a slow reader may hold.
setDefaultHighWaterMark(false, 256 * 1024)

const CONFIG: ReadonlySet<string | undefined> = new Set(['-c', '--config'])

async function run(args: readonly string[]): Promise<number> {
  const cli = processCli(import.meta.url)
  // A reader that went away (`postern ls | head -1`) is no failure of ours.
  process.stdout.on('error', (e: NodeJS.ErrnoException) => {
    if (e.code === 'EPIPE') process.exit(0)
    throw e
  })
  try {
    if (
      args[0] === 'proxy' &&
      args[1] === 'ssh' &&
      !args.includes('--help') &&
      !args.includes('-h')
    ) {
      const { proxySsh } = await import('./commands/proxy-ssh.ts')
      return await proxySsh(cli, args.slice(2))
    }
    const [noun, verb, option, file, ...more] = args
    // As the unit of systemd says it; any other spelling goes through the parser.
    if (noun === 'agent' && verb === 'start' && CONFIG.has(option) && more.length === 0)
      if (file !== undefined && !file.startsWith('-')) {
        const { agentStart } = await import('./commands/agent-start.ts')
        await agentStart(cli, { config: file })
        return 0
      }
    const { runProgram } = await import('./program.ts')
    return await runProgram(cli, args)
  } catch (e) {
    return report(cli, e)
  }
}

process.exitCode = await run(process.argv.slice(2))
