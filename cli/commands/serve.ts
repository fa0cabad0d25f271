/** `postern serve …`: one part of the system alone. */
import path from 'node:path'
import type { Command } from '@commander-js/extra-typings'
import { examples, type Host } from '../host.ts'

export function serveCommands(program: Command, { cli }: Host): void {
  const serve = program
    .command('serve')
    .description('one part alone: the control plane, a proxy, or the store that they share')
    .addHelpText(
      'before',
      examples(
        'postern serve store -c /etc/postern/serve.yaml',
        'postern serve api -c /etc/postern/serve.yaml',
        'postern serve proxy -c /etc/postern/proxy.yaml',
      ),
    )
  const load = async (config: string | undefined) => {
    const { loadServeConfig } = await import('../serve/config.ts')
    const file = config === undefined ? undefined : path.resolve(cli.cwd, config)
    return loadServeConfig(file, { dataDir: path.resolve(cli.cwd, './postern-data') })
  }

  serve
    .command('store')
    .description('the embedded store on loopback, over the DynamoDB protocol')
    .option('-c, --config <file>', 'configuration file')
    .action(async ({ config }) =>
      (await import('../serve/store.ts')).serveStore(cli, await load(config)),
    )
  serve
    .command('api')
    .description('the control plane, over the table of AWS_ENDPOINT_URL_DYNAMODB or of DynamoDB')
    .option('-c, --config <file>', 'configuration file')
    .action(async ({ config }) =>
      (await import('../serve/api.ts')).serveApi(cli, await load(config)),
    )
  serve
    .command('proxy')
    .description('one proxy; SIGTERM drains it')
    .requiredOption('-c, --config <file>', 'configuration file')
    .option('--workers <number>', 'processes, or auto: one for each processor (default: the file)')
    .action(async ({ config, workers }) => {
      const [{ serveProxy }, { parseWorkers }] = await Promise.all([
        import('../serve/proxy.ts'),
        import('../serve/config.ts'),
      ])
      const loaded = await load(config)
      const { proxy } = loaded
      await serveProxy(
        cli,
        workers === undefined
          ? loaded
          : { ...loaded, proxy: { ...proxy, workers: parseWorkers(workers) } },
      )
    })
  serve
    .command('proxy-worker', { hidden: true })
    .action(async () => (await import('../serve/proxy-worker.ts')).serveProxyWorker(cli))
}
