// Runs one function as Lambda's Node runtime does: its environment and nothing else, the handler imported once, one event at a time.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import tls from 'node:tls'
import { syncBuiltinESMExports } from 'node:module'
import { pathToFileURL } from 'node:url'

const [, , code, handlerName, network] = process.argv
/** Where names of AWS lead here: `{"sts": {"host", "port", "ca"}}`. The function itself is not told and has no way to be. */
const names = JSON.parse(readFileSync(network, 'utf8'))
const connect = tls.connect
tls.connect = (options, ...rest) => {
  const name = Object.keys(names).find((n) => String(options?.host).startsWith(`${n}.`))
  if (name === undefined) return connect(options, ...rest)
  const { host, port, ca } = names[name]
  return connect({ ...options, host, port, ca, servername: options.host }, ...rest)
}
syncBuiltinESMExports()

const [file, name] = handlerName.split('.')
const loaded = import(pathToFileURL(path.join(code, `${file}.mjs`)).href).then(
  (module) => module[name],
)
loaded.catch(() => undefined)
process.on('message', async ({ id, event, context }) => {
  try {
    const handler = await loaded
    // As the runtime does: what a handler returns goes through JSON.
    process.send({ id, result: JSON.stringify(await handler(event, context)) })
  } catch (e) {
    process.send({
      id,
      error: e instanceof Error ? `${e.name}: ${e.message}\n${e.stack}` : String(e),
    })
  }
})
process.on('disconnect', () => process.exit(0))
process.send({ ready: true })
