/** The loader of a proxy's container as one text: bundled when the stack is made, carried by the task definition itself. */
import { buildSync } from 'esbuild'
import { join } from 'node:path'

/** A task definition may have 64 KiB in all. */
const MOST = 32 * 1024

export function proxyProgram(): string {
  const made = buildSync({
    absWorkingDir: join(import.meta.dirname, '../..'),
    entryPoints: ['infra/proxy-task/main.ts'],
    bundle: true,
    write: false,
    minify: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    legalComments: 'none',
    // CloudFormation takes ${…} in a text for a parameter that somebody forgot to substitute.
    supported: { 'template-literal': false },
    // Nothing but ASCII survives every place that this text passes through.
    charset: 'ascii',
  })
  const text = made.outputFiles[0]?.text ?? ''
  if (text === '' || text.length > MOST) throw new Error(`the loader has ${text.length} bytes`)
  return text
}
