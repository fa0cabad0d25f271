/** The environment variables of the command, as its documentation names them. */
import { readFileSync, readdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import { readEnv } from '../../../cli/env.ts'

// A variable that is documented and not read looks like protection and is none.
test('CVE-2024-43798 (chisel): each variable that the documentation names is read', () => {
  const pages = [
    'README.md',
    ...readdirSync('docs', { recursive: true, encoding: 'utf8' }).map((f) => `docs/${f}`),
  ]
    .filter((file) => file.endsWith('.md'))
    .map((file) => readFileSync(file, 'utf8'))
  // Of tests, and of join methods, which find it in all that is there.
  const named = new Set(pages.join().match(/\bPOSTERN_(?!TEST_|ID_TOKEN\b)[A-Z_]+/g))
  expect(named.size).toBeGreaterThan(1)
  const read = (env: Record<string, string>) => {
    const { all, httpsProxy, ...rest } = readEnv(env)
    return [rest, all === env, typeof httpsProxy]
  }
  for (const name of named) expect([name, read({ [name]: 'x' })]).not.toEqual([name, read({})])
})
