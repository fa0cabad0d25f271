/**
 * Node shares a lock between a key object that it generated and the job that made it: when the garbage collector takes that job
 * during an export of the key as JWK, the process hangs for ever. A child with a tiny young generation makes that certain.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const SIGNER = new URL('../../../core/certs/signer.ts', import.meta.url).href
const SCRIPT = `
  const { generateKey } = await import(${JSON.stringify(SIGNER)})
  for (let i = 0; i < 5000; i++) generateKey(i % 8 === 0 ? 'ES256' : 'EdDSA').publicKey.export({ format: 'jwk' })
  console.log('all exported')
`

test('no key of ours hangs the process when somebody exports it as JWK', async () => {
  const args = ['--import', 'tsx', '--max-semi-space-size=1', '--input-type=module', '-e', SCRIPT]
  const options = { timeout: 110_000, killSignal: 'SIGKILL' } as const
  const { stdout } = await promisify(execFile)(process.execPath, args, options)
  expect(stdout).toBe('all exported\n')
})
